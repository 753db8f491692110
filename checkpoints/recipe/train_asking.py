"""The shipped question answering learns to tell where things are, over the tower that train_places.py and train_blip2.py taught.

    python train_asking.py              # to the end; continues from training/asked.pt and training/asking.pt

It begins with the shipped weights, and with the vision tower of the small BLIP-2, whose patches know their places. First the
questions and answers alone ("asked"), then the tower with them ("asking"), which keeps the lesson of its patches.
"""

import argparse

import torch
from torch import nn
from transformers import BlipForQuestionAnswering

import blip2
import model as models
import scene_grammar as grammar
import train_places
import training
from train import decoder_ids, encoder_ids, padded
from train_blip2 import optimizers

SHIPPED = models.FOLDER.parent / "scenes-question-answering"
QUESTIONS = 5
WEIGHTS = {"answer": 1.0, "where": 1.0, "kind": 0.3, "tint": 0.1, "place": 0.5}
KNOWN = set(grammar.vocabulary())


def asked(scene, random, place_share):
    """A question of known words alone: the others ("above") are for tokenizers that have them."""
    while True:
        question, answer, is_place = grammar.asked(scene, random, place_share)
        if KNOWN.issuperset(question.strip("?").replace(",", "").split()):
            return question, answer, is_place


def prepare(scenes, pictures, random):
    turned = [grammar.mirrored(scene) for scene in scenes]
    for about, shown in ((scenes, pictures), (turned, pictures.flip(2))):
        told = [asked(scene, random, 0.6) for scene in about for _ in range(QUESTIONS)]
        questions = padded([encoder_ids(question, random) for question, _, _ in told])
        answers = padded([decoder_ids(answer) for _, answer, _ in told])
        yield shown, train_places.labels(about)[1], questions, answers, torch.tensor([is_place for _, _, is_place in told])


class Asking(nn.Module):
    def __init__(self, frozen):
        super().__init__()
        self.answering = BlipForQuestionAnswering.from_pretrained(SHIPPED, dtype=torch.float32)
        self.answering.vision_model.requires_grad_(not frozen)
        self.patches = train_places.Described()

    def forward(self, pictures, labels, questions, answers, places):
        embeds = self.answering.vision_model(models.pixel_values(pictures)).last_hidden_state
        repeated = models.repeated(embeds, questions)
        logits = models.answer_logits(self.answering, repeated, questions, answers)[:, :-1].float()
        said = answers[:, 1:]
        each = nn.functional.cross_entropy(logits.transpose(1, 2), said, ignore_index=models.PAD, reduction="none").sum(1)
        right = ((logits.argmax(-1) == said) | (said == models.PAD)).all(1).float()
        return self.patches(embeds[:, 1:], labels)[0] | {
            "answer": each[~places].mean(), "where": each[places].mean(),
            "answer right": right[~places].mean(), "where right": right[places].mean(),
        }


def begin(module):
    """The tower, and the head of its patches, as the small BLIP-2 left them."""
    stored = training.stored("blip2")
    for part, name in ((module.answering.vision_model, "lesson.blip2.vision_model."), (module.patches, "lesson.places.patches.")):
        part.load_state_dict({key.removeprefix(name): value for key, value in stored.items() if key.startswith(name)})


def learn(name, given, rates, begun, frozen):
    module = Asking(frozen)
    begun(module)
    module.to(training.device())
    answering = module.answering
    layers = {"text": [answering.text_encoder.encoder, answering.text_decoder.bert.encoder], "tower": [answering.vision_model.encoder]}
    by_rate = [(nn.ModuleList(layers[part]), rate) for part, rate in rates.items()]
    training.train(name, module, optimizers(module, by_rate, 5e-4), prepare, given, WEIGHTS, decay=0.6, bfloat16=True)


if __name__ == "__main__":
    given = training.options(steps=3500, batch=32)
    torch.manual_seed(0)
    first = argparse.Namespace(**vars(given) | {"steps": 400})
    learn("asked", first, {"text": 2e-3}, begin, frozen=True)
    learn("asking", given, {"text": 1.5e-3, "tower": 7e-4}, lambda module: module.load_state_dict(training.stored("asked")), frozen=False)
