#!/usr/bin/env bash
# Makes a pretend card for the onnxruntime-node of this checkout, from what PyPI has: onnxruntime's CUDA provider of the same
# version and commit, and the headers of CUDA.
#
#     bash bench/gpu/pretend-card/fetch.sh         run from the root of the checkout, after npm ci
#     LD_LIBRARY_PATH=.gpu/pretend node …
#
# Everything is written to .gpu/, which git ignores; the wheels stay in .gpu/cache. A card that is there already is kept if
# it belongs to the runtime's version and to these sources.
set -euo pipefail
kit=$(cd "$(dirname "$0")/.." && pwd)
native=$PWD/node_modules/onnxruntime-node/bin/napi-v6/linux/x64
[ -e "$native/libonnxruntime.so.1" ] || { echo "fetch.sh: expected onnxruntime-node for Linux on x64; run npm ci at the root of the checkout" >&2; exit 1; }
version=$(node -p "require('onnxruntime-node/package.json').version")
made_from="$version $(cat "$kit"/pretend-card/*.{sh,py,cpp,h,c} "$kit/unpack-provider.py" | sha256sum | cut -c1-16)"
if [ "$(cat .gpu/pretend/made-from 2>/dev/null)" = "$made_from" ]; then exit 0; fi

mkdir -p .gpu/cache
find_wheel() { find .gpu/cache -name "onnxruntime_gpu-$version-*.whl" -print -quit; }
if [ -z "$(find_wheel)" ]; then
  python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 -d .gpu/cache "onnxruntime-gpu==$version"
fi
rm -rf .gpu/pretend && mkdir -p .gpu/pretend
python3 "$kit/unpack-provider.py" "$(find_wheel)" "$native/libonnxruntime.so.1" .gpu/pretend
CUDA_WHEELS=$PWD/.gpu/cache bash "$kit/pretend-card/build.sh" .gpu/pretend/libonnxruntime_providers_cuda.so .gpu/pretend >/dev/null
# The runtime looks for providers beside itself, and the loader takes this runtime because LD_LIBRARY_PATH comes first.
ln -s "$native/libonnxruntime.so.1" .gpu/pretend/libonnxruntime.so.1
echo "$made_from" >.gpu/pretend/made-from
