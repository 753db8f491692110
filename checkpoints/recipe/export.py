"""Writes the trained models as checkpoints in Hugging Face layout, weights as float16.

    python export.py                  # from training/on.pt and clip.pt to ../scenes-*
    python export.py asking           # question answering alone, as train_asking.py taught it
"""

import json
import sys
from pathlib import Path

import torch
from transformers import BertTokenizerFast, BlipForQuestionAnswering, BlipImageProcessor, CLIPImageProcessor

import drawing
import model as models
import training
from train_clip import TOKENIZER, Clip

ROOT = Path(__file__).parent.parent
SIDE = {"height": drawing.SIDE, "width": drawing.SIDE}


def write_weights(folder, model):
    model.half().save_pretrained(folder)
    print(folder.name, f"{(folder / 'model.safetensors').stat().st_size / 1e6:.1f} MB")


def export_blip(name, model):
    folder = ROOT / name
    write_weights(folder, model)
    tokenizer = BertTokenizerFast(vocab=dict(models.TOKEN_IDS), do_lower_case=True, model_max_length=64)
    tokenizer.add_special_tokens({"bos_token": "[DEC]", "additional_special_tokens": ["[ENC]"]})
    tokenizer.save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in models.VOCABULARY))
    BlipImageProcessor(size=SIDE).save_pretrained(folder)
    generation = {"bos_token_id": models.DEC, "eos_token_id": models.SEP, "pad_token_id": models.PAD, "max_new_tokens": 30}
    if name == "scenes-captioning":
        generation["num_beams"] = 3  # Greedy search that begins with one of two cats cannot correct it. Of 300 scenes 91 % were right with beams, 87 % without.
    if name != "scenes-retrieval":
        (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")


def export_clip(name, model):
    folder = ROOT / name
    write_weights(folder, model)
    TOKENIZER.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": drawing.SIDE}, crop_size=SIDE).save_pretrained(folder)


def taught_to_ask():
    """The question answering of train_asking.py, without the heads of its lesson."""
    marker = "answering."
    model = BlipForQuestionAnswering(models.config(2))
    model.load_state_dict({key.removeprefix(marker): value for key, value in training.stored("asking").items() if key.startswith(marker)})
    return model


def export_family():
    family = models.trained_family(training.FOLDER / "on.pt")
    export_blip("scenes-captioning", family.captioning)
    export_blip("scenes-question-answering", family.answering)
    export_blip("scenes-retrieval", family.retrieval)
    if (training.FOLDER / "clip.pt").exists():
        trained = Clip()
        trained.load_state_dict(torch.load(training.FOLDER / "clip.pt", map_location="cpu")["module"])
        export_clip("scenes-clip", trained.clip)


if __name__ == "__main__":
    if sys.argv[1:] == ["asking"]:
        export_blip("scenes-question-answering", taught_to_ask())
    else:
        export_family()
