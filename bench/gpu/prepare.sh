#!/usr/bin/env bash
# Packs everything that a GPU machine without a network needs to run this project on CUDA, in parts that fit a transfer.
#
#     bash bench/gpu/prepare.sh         run from the root of the checkout, after npm ci
#     bash bench/gpu/prepare.sh slim    takes large files out of the working tree, so that it fits beside a part
#     bash bench/gpu/prepare.sh whole   brings them back
#
# Everything is written to .gpu/, which git ignores. A step that has been done is not repeated; delete .gpu/ to begin
# anew. Each of the three prints the plan of transfers, and keeps it in .gpu/plan.txt.
set -euo pipefail
fail() { echo "prepare.sh: $*" >&2; exit 1; }

KIT=$(cd "$(dirname "$0")" && pwd)
ROOT=$PWD
COMPRESS=${COMPRESS:-xz -T0 -6}   # `cat` compresses nothing, which is quicker for a rehearsal.
SCENE_COUNT=200                   # Drawn scenes that captions and answers are judged by.
PART_MIB=${PART_MIB:-56}          # One part and the working tree (see `slim`) must fit into 64 MiB.
ARCHITECTURE=${ARCHITECTURE:-90}  # Compute capability of the card without its point: 90 is the H100.

[ "$(git rev-parse --show-toplevel 2>/dev/null)" = "$ROOT" ] || fail "expected to run at the root of the git checkout, got $ROOT"
git check-ignore -q .gpu/part || fail "expected .gitignore to name .gpu/, so that nothing of it is committed"

# Bytes of the working tree that travel: tracked files that are checked out.
tree_mib() {
  git ls-files -t | awk '$1 != "S" { $1 = ""; print substr($0, 2) }' | tr '\n' '\0' | xargs -0 stat -c %s 2>/dev/null |
    awk '{ sum += $1 } END { printf "%.1f", sum / 1048576 }'
}

STAGE=.gpu/stage
NATIVE=node_modules/onnxruntime-node/bin/napi-v6/linux/x64
mib() { du -cm --apparent-size "$@" | tail -1 | cut -f1; }
# Sizes, and the command for each transfer.
print_plan() {
  local tree part count number=0
  tree=$(tree_mib)
  count=$(find .gpu -maxdepth 1 -name 'part-*' | wc -l)
  echo "sizes (MiB): node $(mib $STAGE/bin/node), CUDA provider $(mib $STAGE/app/$NATIVE/libonnxruntime_providers_cuda.so) with its zeros," \
    "runtime $(mib $STAGE/app/$NATIVE/libonnxruntime.so.1), sharp $(mib $STAGE/app/node_modules/{sharp,@img})," \
    "bundle $(mib $STAGE/app/dist), checkpoints $(mib $STAGE/app/checkpoints)"
  echo "archive: $(mib .gpu/archive-*) MiB in $count parts; working tree: $tree MiB"
  for part in .gpu/part-*; do
    awk -v tree="$tree" -v part="$(mib "$part")" -v name="$part" 'BEGIN {
      printf "%s: %d MiB, %.1f MiB with the tree%s\n", name, part, part + tree, (part + tree > 63 ? "  TOO MUCH: run `prepare.sh slim`, or lower PART_MIB" : "") }'
  done
  echo
  echo "Transfers, one straight after the other:"
  for part in .gpu/part-*; do
    number=$((number + 1))
    if [ "$number" -lt "$count" ]; then
      echo "  $number. send $part, then run there (at most 120 s): bash $part/receive.sh"
    else
      echo "  $number. send $part, then run there (at most 560 s): bash $part/receive.sh && bash $part/measure.sh"
    fi
  done
  echo "  To measure again on the same machine: send .gpu/part-01, then run there: bash .gpu/part-01/measure.sh"
}
# The plan depends on the parts and on the working tree, so it is written again after either has changed.
write_plan() {
  if [ -d .gpu/part-01 ]; then print_plan | tee .gpu/plan.txt
  else echo "working tree: $(tree_mib) MiB travel with each part"; fi
}

case ${1:-} in
slim)
  # A tracked file that is not checked out does not travel.
  git sparse-checkout set --no-cone '/*' '!/checkpoints/*/' '!/test/' '!/docs/' '/test/fixtures/images/'
  write_plan
  exit ;;
whole)
  git sparse-checkout disable
  write_plan
  exit ;;
'') ;;
*) fail "expected no argument, slim or whole, got $1" ;;
esac

for tool in python3 node npx tar sha256sum split ${COMPRESS%% *}; do command -v "$tool" >/dev/null || fail "expected $tool on the PATH"; done
[ -d node_modules/onnxruntime-node ] || fail "expected node_modules; run npm ci first"
[ -z "$(git ls-files -t | awk '$1 == "S"')" ] || fail "expected the whole working tree, got a slim one; run prepare.sh whole first"
VERSION=$(node -p "require('onnxruntime-node/package.json').version")
mkdir -p .gpu/cache

# 1. The CUDA provider of the runtime's own version and commit. PyPI's wheel is built for CUDA 13.
find_wheel() { find .gpu/cache -name "onnxruntime_gpu-$VERSION-*.whl" -print -quit; }
if [ -z "$(find_wheel)" ]; then
  python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 -d .gpu/cache "onnxruntime-gpu==$VERSION" ||
    fail "expected PyPI to have a wheel of onnxruntime-gpu $VERSION for Linux"
fi
PROVIDERS=.gpu/cache/providers-$VERSION-sm$ARCHITECTURE
if [ ! -e "$PROVIDERS/done" ]; then
  rm -rf "$PROVIDERS" && mkdir -p "$PROVIDERS"
  python3 "$KIT/unpack-provider.py" "$(find_wheel)" node_modules/onnxruntime-node/bin/napi-v6/linux/x64/libonnxruntime.so.1 "$PROVIDERS"
  mv "$PROVIDERS/libonnxruntime_providers_cuda.so" "$PROVIDERS/whole.so"
  python3 "$KIT/reduce-provider.py" "$PROVIDERS/whole.so" "$PROVIDERS/libonnxruntime_providers_cuda.so" "$ARCHITECTURE"
  rm "$PROVIDERS/whole.so"
  touch "$PROVIDERS/done"
fi

# 2. Drawn scenes with everything that is true of them. SCENES names a folder that has them; else they are drawn here.
SCENES=${SCENES:-.gpu/scenes}
if [ ! -e "$SCENES/scenes.json" ]; then
  python3 -c 'import PIL, numpy' 2>/dev/null || fail "expected python3 with pillow and numpy, to draw scenes; or SCENES, a folder of draw_scenes.py"
  (cd checkpoints/recipe && { [ -d node_modules ] || npm ci --no-audit --no-fund --silent; } && { [ -d sprites ] || node --import tsx sprites.ts >/dev/null; })
  python3 checkpoints/recipe/draw_scenes.py .gpu/scenes.tmp --count $SCENE_COUNT --seed 15
  rm -rf .gpu/scenes && mv .gpu/scenes.tmp .gpu/scenes
fi

# 3. The stage: node, the bundle, the packages with native code, the kit's scripts, small checkpoints, a picture.
rm -rf $STAGE && mkdir -p $STAGE/bin $STAGE/app/node_modules/@img $STAGE/app/bench $STAGE/app/checkpoints
cp -L "$(command -v node)" $STAGE/bin/node
chmod +x $STAGE/bin/node
if strip --strip-unneeded -o $STAGE/bin/node.stripped $STAGE/bin/node 2>/dev/null && $STAGE/bin/node.stripped -v >/dev/null; then
  mv $STAGE/bin/node.stripped $STAGE/bin/node
else rm -f $STAGE/bin/node.stripped; fi
node --import tsx build/bundle.ts --quiet || fail "expected the bundle to build"
cp -r dist $STAGE/app/dist
find $STAGE/app/dist -name '*.map' -delete
rm -rf $STAGE/app/dist/types $STAGE/app/dist/swagger-ui
for package in onnxruntime-common sharp @img/sharp-linux-x64 @img/sharp-libvips-linux-x64 @img/colour detect-libc semver; do
  cp -rL node_modules/$package $STAGE/app/node_modules/$package
done
mkdir -p "$STAGE/app/$(dirname $NATIVE)"
cp -r node_modules/onnxruntime-node/{package.json,dist} $STAGE/app/node_modules/onnxruntime-node/
cp -r $NATIVE $STAGE/app/$NATIVE
cp "$PROVIDERS"/libonnxruntime_providers_{cuda,shared}.so $STAGE/app/$NATIVE/
echo '{"type":"module"}' >$STAGE/app/package.json
cp bench/make_checkpoint.py "$KIT"/measure_torch.py "$KIT"/ort-hook.mjs $STAGE/app/bench/
npx esbuild "$KIT/measure.ts" --bundle --packages=external --format=esm --platform=node --target=node20 --outfile=$STAGE/app/bench/measure.js --log-level=warning
cp test/fixtures/images/chelsea.png $STAGE/app/bench/
cp -r "$SCENES" $STAGE/app/scenes
# dist/ has the captioning checkpoint already.
for checkpoint in ${CHECKPOINTS:-checkpoints/scenes-question-answering checkpoints/scenes-retrieval checkpoints/scenes-clip test/fixtures/checkpoints/*}; do
  [ -d "$checkpoint" ] || fail "expected the folder of a checkpoint, got $checkpoint"
  cp -r "$checkpoint" $STAGE/app/checkpoints/
done
git log -1 --format='%H %s' >$STAGE/app/commit.txt

# 4. One archive, cut into parts. Each part brings the scripts that run there, and the list of all parts.
(cd $STAGE && find . -type f -print0 | sort -z | xargs -0 sha256sum) >.gpu/stage.sums
SUM=$( (cat .gpu/stage.sums; echo "$COMPRESS") | sha256sum | cut -c1-16)
ARCHIVE=.gpu/archive-$SUM
if [ ! -e "$ARCHIVE" ]; then
  rm -f .gpu/archive-*
  # shellcheck disable=SC2086  # COMPRESS is a command with its options.
  tar --sort=name --owner=0 --group=0 --mtime=@0 -C $STAGE -cf - . | $COMPRESS >"$ARCHIVE.tmp"
  mv "$ARCHIVE.tmp" "$ARCHIVE"
fi
rm -rf .gpu/part-* .gpu/split && mkdir .gpu/split
split -b "${PART_MIB}M" -d -a 2 --numeric-suffixes=1 "$ARCHIVE" .gpu/split/piece-
(cd .gpu/split && sha256sum piece-*) >.gpu/pieces.sums
for piece in .gpu/split/piece-*; do
  number=${piece##*-}
  mkdir .gpu/part-"$number"
  mv "$piece" .gpu/part-"$number"/
  cp "$KIT"/{receive.sh,measure.sh,summary.py} .gpu/pieces.sums .gpu/part-"$number"/
done
rmdir .gpu/split

write_plan
