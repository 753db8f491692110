"""Draws the pictures that ship with the package: ../../examples/*.png.

    python draw_examples.py

Each line is one picture: its name, background, style, and the objects with their places. The styles are those of training.
"""

import random
from pathlib import Path

import drawing
from scene_grammar import Group, Placed, Scene

FOLDER = Path(__file__).parent.parent.parent / "examples"
SIDE = 384

EXAMPLES = {
    "apples-and-cat": ("blue", "noto", [("apple", "red", [(0.24, 0.3, 0.36), (0.3, 0.74, 0.36)]), ("cat", None, [(0.72, 0.5, 0.42)])]),
    "two-cats": ("yellow", "fluent-emoji-3d", [("cat", None, [(0.29, 0.42, 0.44), (0.72, 0.6, 0.44)])]),
    "rocket-and-star": ("black", "twemoji", [("rocket", None, [(0.35, 0.58, 0.48)]), ("star", "yellow", [(0.76, 0.25, 0.34)])]),
    "penguin-and-umbrella": ("white", "fluent-emoji", [("penguin", None, [(0.3, 0.55, 0.46)]), ("umbrella", "pink", [(0.74, 0.45, 0.42)])]),
    "dog-and-balloons": ("purple", "noto-v1", [("dog", None, [(0.3, 0.7, 0.38)]), ("balloon", "green", [(0.24, 0.25, 0.32), (0.6, 0.3, 0.32), (0.78, 0.7, 0.32)])]),
    "car-and-house": ("green", "emojione", [("car", "red", [(0.28, 0.7, 0.4)]), ("house", None, [(0.72, 0.4, 0.46)])]),
    "elephant-and-bananas": ("pink", "fluent-emoji-flat", [("elephant", None, [(0.66, 0.4, 0.44)]), ("banana", None, [(0.25, 0.3, 0.34), (0.3, 0.75, 0.34)])]),
}

for name, (background, style, groups) in EXAMPLES.items():
    scene = Scene(background, tuple(Group(kind, tint, tuple(Placed(*place) for place in places)) for kind, tint, places in groups))
    sprites = drawing.Sprites([style], side=192)
    drawing.draw(scene, sprites, random.Random(name), side=SIDE).save(FOLDER / f"{name}.png", optimize=True)
