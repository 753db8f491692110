"""Draws scenes for evaluation: pictures, and scenes.json with everything that is true of each.

    python draw_scenes.py FOLDER --count 500 --seed 1                     # the styles of training
    python draw_scenes.py FOLDER --count 500 --seed 2 --styles fxemoji    # the style kept out of training
"""

import argparse
import json
import random
from pathlib import Path

import drawing
import scene_grammar as grammar

options = argparse.ArgumentParser()
options.add_argument("folder", type=Path)
options.add_argument("--count", type=int, default=500)
options.add_argument("--seed", type=int, required=True)
options.add_argument("--styles", nargs="*")
options.add_argument("--side", type=int, default=drawing.SIDE)
options = options.parse_args()

options.folder.mkdir(parents=True, exist_ok=True)
chance = random.Random(f"evaluation {options.seed}")
sprite_side = drawing.SPRITE_SIDE if options.side == drawing.SIDE else 192
sprites = drawing.Sprites(options.styles, sprite_side) if options.styles else drawing.Sprites.training()
scenes = []
for index in range(options.count):
    scene = grammar.sample_scene(chance)
    name = f"{index:04}.png"
    drawing.draw(scene, sprites, chance, side=options.side).save(options.folder / name, optimize=True)
    true, false, wrong = grammar.matching_pair(scene, chance)
    question, answer = grammar.questions(scene, chance)
    scenes.append({
        "file": name,
        "background": scene.background,
        "groups": [
            {"kind": kind, "count": count, "words": grammar.group_words(kind, tint, count)}
            for kind, tint, count in grammar.facts(scene)
        ],
        "question": question, "answer": answer,
        "trueCaption": true, "falseCaption": false, "wrong": wrong,
    })
(options.folder / "scenes.json").write_text(json.dumps(scenes, indent=1))
