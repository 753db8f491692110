"""Decodes images with Pillow, as transformers does: the other side of bench/pillow-images.ts.

    python bench/pillow_images.py

Each line of stdin is the path of an image. For each, prints a line of JSON with `format`, `mode` (Pillow's own names; null
where Pillow does not know the file), `width` and `height`, and then width x height x 3 bytes, RGB. A file that Pillow
refuses has `error` in place of the size, and no bytes.
"""

import json
import sys
import warnings

from PIL import Image, ImageOps

warnings.simplefilter("ignore")


def decode(path):
    known = {"format": None, "mode": None}
    try:
        with Image.open(path) as image:
            known = {"format": image.format, "mode": image.mode}
            pixels = ImageOps.exif_transpose(image).convert("RGB")
            return {**known, "width": pixels.width, "height": pixels.height}, pixels.tobytes()
    except Exception as error:  # Any error is Pillow's refusal.
        return {**known, "error": type(error).__name__}, b""


for line in sys.stdin:
    answer, data = decode(line.rstrip("\n"))
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + data)
    sys.stdout.buffer.flush()
