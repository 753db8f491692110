"""Writes the trained models as checkpoints in Hugging Face layout, weights as float16.

    python export.py                  # from training/family.pt to ../scenes-*
"""

import json
from pathlib import Path

import torch
from transformers import BertTokenizerFast, BlipImageProcessor

import drawing
import model as models

ROOT = Path(__file__).parent.parent


def export(name, model):
    folder = ROOT / name
    model.half().save_pretrained(folder)
    tokenizer = BertTokenizerFast(vocab=dict(models.TOKEN_IDS), do_lower_case=True, model_max_length=64)
    tokenizer.add_special_tokens({"bos_token": "[DEC]", "additional_special_tokens": ["[ENC]"]})
    tokenizer.save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in models.VOCABULARY))
    size = {"height": drawing.SIDE, "width": drawing.SIDE}
    BlipImageProcessor(size=size).save_pretrained(folder)
    generation = {"bos_token_id": models.DEC, "eos_token_id": models.SEP, "pad_token_id": models.PAD, "max_new_tokens": 30}
    if name != "scenes-retrieval":
        (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    print(name, f"{(folder / 'model.safetensors').stat().st_size / 1e6:.1f} MB")


family = models.Family()
stored = torch.load(Path(__file__).parent / "training/family.pt", map_location="cpu")["module"]
family.load_state_dict({name.removeprefix("family."): value for name, value in stored.items() if name.startswith("family.")})
export("scenes-captioning", family.captioning)
export("scenes-question-answering", family.answering)
export("scenes-retrieval", family.retrieval)
