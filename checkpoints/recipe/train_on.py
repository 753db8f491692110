"""Third part of the training: everything of train.py continues to learn, with several texts about each picture.

    python train_on.py                  # to the end; continues from training/on.pt

It begins with training/family.pt, and with the question answering of training/answers.pt.
"""

from functools import partial

import torch

import model as models
import train
import training

# Of all errors of a text, left and right are the hardest to learn.
prepare = partial(train.prepare, captions=2, questions=4, side_share=0.6)


def begin(lessons):
    lessons.load_state_dict(torch.load(training.FOLDER / "family.pt", map_location="cpu")["module"])
    answering = models.trained_family(training.FOLDER / "answers.pt").answering
    lessons.family.answering.text_encoder.load_state_dict(answering.text_encoder.state_dict())
    lessons.family.answering.text_decoder.load_state_dict(answering.text_decoder.state_dict())


if __name__ == "__main__":
    given = training.options(steps=2450)
    torch.manual_seed(0)
    lessons = train.Lessons()
    begin(lessons)
    lessons.to(training.device())
    optimizers = training.make_optimizers(lessons, train.layers_of(lessons.family), 2e-3, 5e-4)
    training.train("on", lessons, optimizers, prepare, given, train.WEIGHTS | {"answer": 1.0}, decay=0.8)
