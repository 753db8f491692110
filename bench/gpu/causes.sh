#!/usr/bin/env bash
# Takes away one part of CUDA at a time, and checks that the start names it. Nothing here needs a GPU: the real provider of
# prepare.sh loads on the pretend card.
#
#     bash bench/gpu/causes.sh     run from the root of the checkout, after prepare.sh and pretend-card/build.sh (README.md)
set -euo pipefail
app=$PWD/.gpu/stage/app node=$PWD/.gpu/stage/bin/node pretend=$PWD/.gpu/pretend
[ -e "$app/dist/main.js" ] && [ -e "$pretend/libcudart.so.13" ] || { echo "causes.sh: expected .gpu/stage and .gpu/pretend" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0
# without LIBRARY…: prints a folder with the pretend card's libraries, except those.
without() {
  local folder library
  folder=$(mktemp -d "$work/XXXXXX")
  cp "$pretend"/* "$folder"
  for library in "$@"; do rm "$folder/$library"; done
  echo "$folder"
}
# expect TEXT VARIABLE=VALUE…: runs one caption with these variables, and looks for the text in all that it says.
expect() {
  local text=$1 said; shift
  said=$(env FAKE_PERIOD=20 "$@" "$node" "$app/dist/main.js" invoke 2>&1 || true)
  if grep -qF -- "$text" <<<"$said"; then echo "ok      $* -> $text"
  else
    echo "not ok  $* -> expected: $text"
    sed 's/^/        /' <<<"$said" | cut -c1-400
    failures=$((failures + 1))
  fi
}

expect 'those of CUDA 13 (libcublasLt.so.13)' LD_LIBRARY_PATH=/nowhere BLIP_EXECUTION_PROVIDER=cuda
expect 'those of CUDA 13 (libcublas.so.13)' LD_LIBRARY_PATH="$(without libcublas.so.13)" BLIP_EXECUTION_PROVIDER=cuda
expect "those of NVIDIA's driver (libcuda.so.1)" LD_LIBRARY_PATH="$(without libcuda.so.1)" BLIP_EXECUTION_PROVIDER=cuda
expect 'that of cuDNN 9 (libcudnn.so.9)' LD_LIBRARY_PATH="$(without libcudnn.so.9)" BLIP_EXECUTION_PROVIDER=cuda
expect 'on cpu in float32 (no CUDA here: these libraries are missing' LD_LIBRARY_PATH="$(without libcudnn.so.9)"
expect 'the driver is older than this CUDA needs' LD_LIBRARY_PATH="$pretend" FAKE_DEVICE_ERROR=35 BLIP_EXECUTION_PROVIDER=cuda
expect 'the driver sees no card' LD_LIBRARY_PATH="$pretend" FAKE_DEVICE_ERROR=100 BLIP_EXECUTION_PROVIDER=cuda
expect 'there is no card of that number' LD_LIBRARY_PATH="$pretend" BLIP_DEVICES=1
expect 'PRECISION_UNAVAILABLE' LD_LIBRARY_PATH=/nowhere BLIP_PRECISION=float16
for precision in float32 float16 bfloat16; do
  expect "on cuda in $precision (cuda works here)" LD_LIBRARY_PATH="$pretend" BLIP_PRECISION=$precision
done
expect 'on cuda in float16 (cuda was asked for)' LD_LIBRARY_PATH="$pretend" BLIP_DEVICES=0,1 FAKE_DEVICES=2 FAKE_TRACE="$work/trace"
grep -qP '^device\t1$' "$work/trace" || { echo "not ok  expected a thread on device 1"; failures=$((failures + 1)); }
echo "$failures failures"
[ "$failures" -eq 0 ]
