#!/usr/bin/env bash
# Builds libraries that pretend to be CUDA 13 with one H100, so that onnxruntime's real CUDA provider loads, places every
# node, and runs on a machine without a GPU. Memory is the host's. Kernels do nothing, except those that compute the
# integers of which shapes are made. Each launch, copy and synchronisation is counted, and can be traced.
#
#     bash build.sh PROVIDERS_CUDA_SO FOLDER
#     LD_LIBRARY_PATH=FOLDER FAKE_TRACE=trace FAKE_SUMMARY=summary FAKE_PERIOD=20 node …
#
# FAKE_PERIOD=N: a loop that asks whether to go on is told "no" every Nth time. FAKE_LOOPS=N: "yes" N times, then "no".
# FAKE_DEVICES=N: there are N cards, and the trace has a line where a thread goes to another one. FAKE_DEVICE_ERROR=N: choosing
# a card fails with this error of CUDA, as 35 where the driver is too old.
#
# The values that a model returns are meaningless. Meaningful are errors while loading, the placements and Memcpy nodes in
# the log, and which kernels run and how often (diff.py of two traces that differ in one iteration shows one token).
set -euo pipefail
[ $# -eq 2 ] || { echo "build.sh: expected PROVIDERS_CUDA_SO and FOLDER, got $# arguments" >&2; exit 1; }
provider=$1 folder=$2 here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$folder"

# The headers of CUDA's runtime. CUDA_WHEELS names a folder that keeps the downloads.
wheels=${CUDA_WHEELS:-$work}
python3 -m pip download -q --no-deps -d "$wheels" nvidia-cuda-runtime==13.0.96 nvidia-cuda-crt==13.0.88
for wheel in "$wheels"/nvidia_cuda_{runtime,crt}-*.whl; do python3 -m zipfile -e "$wheel" "$work/cuda"; done

python3 "$here/make-stubs.py" "$provider" "$work"
# library SONAME SOURCE…: a shared library; its symbols have versions where make-stubs.py wrote a map.
library() {
  local soname=$1; shift
  local flags=(-O1 -w -shared -fPIC "-Wl,-soname,$soname")
  [ -e "$work/$soname.map" ] && flags+=("-Wl,--version-script=$work/$soname.map")
  gcc "${flags[@]}" -o "$folder/$soname" "$@"
}
g++ -O1 -w -fpermissive -shared -fPIC -I"$work/cuda/nvidia/cu13/include" -Wl,-soname,libcudart.so.13 \
  -Wl,--version-script="$work/libcudart.so.13.map" -o "$folder/libcudart.so.13" "$here/cudart.cpp"
library libcublas.so.13 "$work/cublas.c" "$folder/libcudart.so.13"
library libcublasLt.so.13 "$work/cublasLt.c" "$folder/libcudart.so.13"
library libcudnn.so.9 "$work/cudnn.c"
library libcurand.so.10 "$work/curand.c"
library libcuda.so.1 "$work/cuda.c"
ls -la "$folder"
