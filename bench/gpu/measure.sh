#!/usr/bin/env bash
# Runs on the GPU machine after receive.sh. Takes every measurement in about 8 minutes, the most important ones first.
#
#     BUDGET_S=480 bash .gpu/part-NN/measure.sh
#
# Numbers go to $OUT/results.jsonl and logs to $OUT/logs.tgz; a table is printed at the end. A step that fails does not
# stop the steps after it.
set -uo pipefail
SELF=$(realpath "$0")
BASE=${BLIP_GPU_HOME:-${TMPDIR:-/tmp}/blip-gpu}
[ -e "$BASE/env.sh" ] || { echo "measure.sh: expected $BASE/env.sh; run receive.sh with every part first" >&2; exit 1; }
# shellcheck disable=SC1091  # receive.sh writes it there.
. "$BASE/env.sh"
OUT=${OUT:-$BASE/out}
mkdir -p "$OUT"
export OUT
BUDGET_S=${BUDGET_S:-480}
START_S=$SECONDS
CARD=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1)
export CARD
cd "$BASE/root/app" || exit

left() { echo $((BUDGET_S - (SECONDS - START_S))); }
# step SECONDS NAME COMMAND…: runs the command for at most this many seconds, and never beyond the budget.
step() {
  local limit=$1 name=$2; shift 2
  local rest; rest=$(left)
  if [ "$rest" -lt 10 ]; then echo "-- $name: no time left"; return; fi
  [ "$limit" -gt "$rest" ] && limit=$rest
  local began=$SECONDS
  timeout "$limit" "$@" >>"$OUT/results.jsonl" 2>"$OUT/$name.err"
  echo "-- $name: exit code $?, $((SECONDS - began)) s, $(left) s left"
  [ -s "$OUT/$name.err" ] && tail -2 "$OUT/$name.err" | cut -c1-300
  tail -c 200000 "$OUT/$name.err" >"$OUT/$name.tail" && mv "$OUT/$name.tail" "$OUT/$name.err"
}
makes_checkpoints() { kill -0 "$(cat "$BASE/made/maker.pid" 2>/dev/null)" 2>/dev/null; }
# Prints the folder of a large checkpoint as soon as it is complete. Prints nothing if no process makes it, or if it comes
# too late.
made() {
  local folder=$BASE/made/$1
  while [ ! -d "$folder" ] && [ "$(left)" -gt 60 ] && makes_checkpoints; do sleep 2; done
  [ ! -d "$folder" ] || echo "$folder"
}

: >"$OUT/results.jsonl"
step 50 ceilings python3 bench/measure_torch.py ceilings
NVIDIA_TF32_OVERRIDE=0 step 90 parity node bench/measure.js parity float32
NVIDIA_TF32_OVERRIDE=0 step 90 scenes node bench/measure.js scenes
large=$(made large)
if [ -z "$large" ]; then
  echo "-- no large checkpoint: $(tail -1 "$BASE/made/log" 2>/dev/null || echo 'receive.sh ran with NO_CHECKPOINTS')"
else
  SECONDS_PER_BATCH=3 step 50 speed-float16 node bench/measure.js speed "$large" cuda float16
  step 60 torch-float16 python3 bench/measure_torch.py speed "$large" 1,8,32 3 float16
  step 40 start-float16 node bench/measure.js start "$large" cuda float16
  step 40 placement node bench/measure.js placement "$large" cuda float16
  SECONDS_PER_BATCH=2 step 40 speed-bfloat16 node bench/measure.js speed "$large" cuda bfloat16
  SECONDS_PER_BATCH=2 step 50 speed-tf32 node bench/measure.js speed "$large" cuda float32
  NVIDIA_TF32_OVERRIDE=0 SECONDS_PER_BATCH=2 step 50 speed-float32 node bench/measure.js speed "$large" cuda float32
  step 90 torch python3 bench/measure_torch.py speed "$large" 1,8,32 2 float32,tf32,bfloat16
  for dtype in float16 float32; do step 30 torch-start-$dtype python3 bench/measure_torch.py start "$large" $dtype; done
  BATCHES=1 SECONDS_PER_BATCH=4 step 40 cpu node bench/measure.js speed "$large" cpu float32
fi
step 60 parity-float16 node bench/measure.js parity float16
step 60 parity-tf32 node bench/measure.js parity float32
base=$(made base)
[ -n "$base" ] && SECONDS_PER_BATCH=2 step 40 speed-base node bench/measure.js speed "$base" cuda float16
[ -n "$base" ] && step 40 torch-base python3 bench/measure_torch.py speed "$base" 1,32 1 float16
# Few and small files come back from the machine: one with the numbers, one with all logs. tar fails where a folder that it
# reads changes, so it writes elsewhere.
for file in "$OUT"/*; do [ "$(stat -c %s "$file")" -gt 15000000 ] && rm "$file"; done
rm -f "$OUT/logs.tgz"
tar -czf "$BASE/logs.tgz" -C "$OUT" --exclude=results.jsonl . && find "$OUT" -type f ! -name results.jsonl -delete
mv "$BASE/logs.tgz" "$OUT/"
python3 "$(dirname "$SELF")/summary.py" "$OUT/results.jsonl"
