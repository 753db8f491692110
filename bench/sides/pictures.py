"""Images and texts for OpenVINO, without transformers and torch, whose imports would cost its start seconds."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from tokenizers import Tokenizer


class Pictures:
    """The image processors of BLIP (stretched) and CLIP (shortest edge, then the middle), as transformers has them."""

    def __init__(self, checkpoint):
        settings = json.loads((Path(checkpoint) / "preprocessor_config.json").read_text())
        self.size, self.crop = settings["size"], settings.get("crop_size") if settings.get("do_center_crop") else None
        self.mean, self.deviation = np.float32(settings["image_mean"]), np.float32(settings["image_std"])

    def resized(self, picture):
        if "height" in self.size:
            return picture.resize((self.size["width"], self.size["height"]), Image.Resampling.BICUBIC)
        edge, shortest = self.size["shortest_edge"], min(picture.size)
        return picture.resize([int(edge * side / shortest) for side in picture.size], Image.Resampling.BICUBIC)

    def cropped(self, picture):
        if self.crop is None:
            return picture
        left, top = (picture.width - self.crop["width"]) // 2, (picture.height - self.crop["height"]) // 2
        return picture.crop((left, top, left + self.crop["width"], top + self.crop["height"]))

    def pixels(self, pictures):
        """[images, 3, height, width], float32."""
        bytes_ = np.stack([np.asarray(self.cropped(self.resized(picture.convert("RGB")))) for picture in pictures])
        pixels = (bytes_ * np.float32(1 / 255) - self.mean) / self.deviation
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def token_ids(checkpoint, texts):
    """[texts, tokens], int64. The texts must have the same number of tokens."""
    tokenizer = Tokenizer.from_file(str(Path(checkpoint) / "tokenizer.json"))
    return np.array([tokenizer.encode(text).ids for text in texts], np.int64)
