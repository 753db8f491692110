"""Writes the small BLIP-2 as a checkpoint in Hugging Face layout, weights as float16.

    python export_blip2.py                      # from training/blip2.pt to ../scenes-blip-2
    python export_blip2.py words /tmp/folder    # from another state of the training, to another folder
"""

import json
import sys
from pathlib import Path

from transformers import Blip2Processor, BlipImageProcessor

import blip2
import drawing
import training

SIDE = {"height": drawing.SIDE, "width": drawing.SIDE}


def trained(name):
    """The BLIP-2 of a state of the training, without the heads of its lessons."""
    marker = "lesson.blip2."
    stored = {key.split(marker)[1]: value for key, value in training.stored(name).items() if marker in key}
    model = blip2.make_model()
    model.load_state_dict(stored)
    return model.eval()


def export(model, folder):
    model.half().save_pretrained(folder)
    Blip2Processor(BlipImageProcessor(size=SIDE), blip2.TOKENIZER, num_query_tokens=blip2.QUERIES).save_pretrained(folder)
    BlipImageProcessor(size=SIDE).save_pretrained(folder)
    generation = {"bos_token_id": blip2.END_ID, "eos_token_id": blip2.NEWLINE_ID, "pad_token_id": blip2.PAD_ID}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    print(folder.name, f"{(folder / 'model.safetensors').stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    name = sys.argv[1] if len(sys.argv) > 1 else "blip2"
    export(trained(name), Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent.parent / "scenes-blip-2")
