"""BentoML's example for BLIP with 20 forced tokens, which bench/overhead.ts compares with this package.

    BLIP_CHECKPOINT=DIR bentoml serve bench/bento_service.py:BlipCaptioning

Follows github.com/bentoml/BentoBLIP, service.py.
"""

import os

import bentoml
import torch
from PIL.Image import Image
from transformers import BlipForConditionalGeneration, BlipProcessor

FORCED = dict(max_new_tokens=20, min_new_tokens=20, do_sample=False, num_beams=1)


@bentoml.service(workers=1)
class BlipCaptioning:
    def __init__(self):
        torch.set_num_threads(int(os.environ["BLIP_THREADS"]))
        self.model = BlipForConditionalGeneration.from_pretrained(os.environ["BLIP_CHECKPOINT"]).eval()
        self.processor = BlipProcessor.from_pretrained(os.environ["BLIP_CHECKPOINT"])

    @bentoml.api
    def generate(self, img: Image, txt: str | None = None) -> str:
        inputs = self.processor(img.convert("RGB"), txt, return_tensors="pt")
        with torch.inference_mode():
            return self.processor.decode(self.model.generate(**inputs, **FORCED)[0], skip_special_tokens=True)
