#!/usr/bin/env bash
# Runs on the GPU machine once with each part: bash .gpu/part-NN/receive.sh
#
# Stores the part outside the checkout. When the last part has come, it unpacks everything, finds CUDA's libraries, and
# says whether onnxruntime-node can use the card. Parts may come in any order and more than once.
set -euo pipefail
fail() { echo "receive.sh: $*" >&2; exit 1; }

HERE=$(cd "$(dirname "$0")" && pwd)
BASE=${BLIP_GPU_HOME:-${TMPDIR:-/tmp}/blip-gpu}
mkdir -p "$BASE/pieces"
command -v python3 >/dev/null || fail "expected python3 on the PATH"

# The parts belong to another archive than the stored ones: begin anew.
if ! cmp -s "$HERE/pieces.sums" "$BASE/pieces.sums"; then
  rm -rf "$BASE/pieces" "$BASE/root" "$BASE/env.sh"
  mkdir -p "$BASE/pieces"
  cp "$HERE/pieces.sums" "$BASE/pieces.sums"
fi
for piece in "$HERE"/piece-*; do
  [ -e "$piece" ] || fail "expected a piece in $HERE, found none"
  name=$(basename "$piece")
  expected=$(awk -v name="$name" '$2 == name { print $1 }' "$BASE/pieces.sums")
  [ -n "$expected" ] || fail "expected pieces.sums to name $name"
  got=$(sha256sum <"$piece" | cut -d' ' -f1)
  [ "$expected" = "$got" ] || fail "expected $name to have the checksum $expected, got $got: send it again"
  cp "$piece" "$BASE/pieces/$name.tmp" && mv "$BASE/pieces/$name.tmp" "$BASE/pieces/$name"
  echo "received $name, $(du -m --apparent-size "$piece" | cut -f1) MiB"
done

# The large checkpoints are made in the meantime, by a process that goes on after this script. measure.sh waits for them
# as long as that process lives.
make_checkpoints() {
  local size folder
  for size in $SIZES; do
    folder=$BASE/made/$size
    [ ! -d "$folder" ] || continue
    rm -rf "$folder.tmp" && mkdir -p "$folder.tmp"
    python3 -c '
import runpy, torch
torch.save = lambda *_: None  # The torch archive is not needed here, and is as large as the safetensors.
runpy.run_path("bench/make_checkpoint.py", run_name="__main__")
' "$folder.tmp" "$size" && mv "$folder.tmp" "$folder"
  done
}
makes_checkpoints() { kill -0 "$(cat "$BASE/made/maker.pid" 2>/dev/null)" 2>/dev/null; }
if [ -z "${NO_CHECKPOINTS:-}" ] && [ -e bench/make_checkpoint.py ] && ! makes_checkpoints; then
  mkdir -p "$BASE/made"
  export BASE SIZES=${SIZES:-large base}
  export -f make_checkpoints
  setsid bash -c make_checkpoints >"$BASE/made/log" 2>&1 </dev/null &
  echo $! >"$BASE/made/maker.pid"
  echo "making checkpoints in $BASE/made"
fi

missing=$(awk '{ print $2 }' "$BASE/pieces.sums" | while read -r name; do [ -e "$BASE/pieces/$name" ] || echo "$name"; done)
if [ -n "$missing" ]; then
  echo "still to come: ${missing//$'\n'/ }"
  exit 0
fi

if [ ! -e "$BASE/root/.done" ]; then
  start_s=$SECONDS
  rm -rf "$BASE/root" && mkdir -p "$BASE/root"
  # Python's lzma reads the archive, because the machine may lack xz.
  cat "$BASE"/pieces/piece-* | python3 -c '
import sys, tarfile
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|*") as archive:
    archive.extractall(sys.argv[1], **({"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}))
' "$BASE/root" || fail "expected the archive to unpack"
  touch "$BASE/root/.done"
  echo "unpacked in $((SECONDS - start_s)) s"
fi

# CUDA's libraries lie in Python's packages, or where the toolkit installs them. The driver's folder is added only where
# the dynamic linker does not know it.
libraries=$(python3 - <<'PY'
import glob, os, site, subprocess, sys
folders = []
for place in [*site.getsitepackages(), *[p for p in sys.path if p.endswith('site-packages')]]:
    folders += sorted(glob.glob(os.path.join(place, 'nvidia', '*', 'lib')))
folders += [f for f in ('/usr/local/cuda/lib64', '/usr/local/cuda/targets/x86_64-linux/lib') if os.path.isdir(f)]
known = subprocess.run('ldconfig -p', shell=True, capture_output=True, text=True).stdout
if 'libcuda.so.1' not in known:
    folders += [f for f in ('/usr/local/nvidia/lib64', '/usr/local/nvidia/lib', '/usr/lib/x86_64-linux-gnu') if os.path.exists(f + '/libcuda.so.1')]
print(':'.join(dict.fromkeys(folders)))
PY
)
cat >"$BASE/env.sh" <<ENV
export PATH="$BASE/root/bin:\$PATH"
export LD_LIBRARY_PATH="${EXTRA_LIBRARIES:+$EXTRA_LIBRARIES:}$libraries\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
export BLIP_GPU_HOME="$BASE"
ENV
# shellcheck disable=SC1091
. "$BASE/env.sh"

provider=$BASE/root/app/node_modules/onnxruntime-node/bin/napi-v6/linux/x64/libonnxruntime_providers_cuda.so
echo "node $(node -v), commit $(cut -c1-10 "$BASE/root/app/commit.txt"), $(nproc) cores"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null || echo "nvidia-smi is missing or fails"
lacking=$(ldd "$provider" | grep 'not found' || true)
[ -z "$lacking" ] || fail "expected all libraries of the CUDA provider, got: $lacking (searched $LD_LIBRARY_PATH)"
ldd "$provider" | grep -E 'cublas|cudart|curand|libcuda\.' | sed 's/ (0x.*//'
# The provider opens cuDNN when attention first needs it: without cuDNN a session loads, and its first run fails.
cudnn=$(echo "$LD_LIBRARY_PATH" | tr ':' '\n' | while read -r folder; do [ -e "$folder/libcudnn.so.9" ] && { echo "$folder/libcudnn.so.9"; break; }; done || true)
[ -n "$cudnn" ] || cudnn=$(ldconfig -p | awk '/libcudnn.so.9/ { print $NF; exit }')
[ -n "$cudnn" ] || fail "expected libcudnn.so.9 in $LD_LIBRARY_PATH: MultiHeadAttention cannot run without it"
echo "cuDNN: $cudnn"
cd "$BASE/root/app"
node bench/measure.js probe || fail "expected onnxruntime-node to work on the card"
echo "ready: . $BASE/env.sh"
