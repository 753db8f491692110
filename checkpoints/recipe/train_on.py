"""Third part of the training: all that train.py trained learns on, with several texts about each picture.

    python train_on.py                  # to the end; goes on from training/on.pt where it was cut

Begins with training/family.pt, and with the question answering of training/answers.pt.
"""

import torch

import model as models
import scene_grammar as grammar
import train
import training
from pretrain_vision import labels
from train import decoder_ids, encoder_ids, padded

CAPTIONS = 2
QUESTIONS = 4
SIDE_SHARE = 0.6  # left and right are the hardest to learn of all that can be wrong with a text


def words(scenes, random):
    captions = [grammar.captions(scene, random) for scene in scenes for _ in range(CAPTIONS)]
    asked = [grammar.questions(scene, random) for scene in scenes for _ in range(QUESTIONS)]
    pairs = [grammar.matching_pair(scene, random, SIDE_SHARE) for scene in scenes]
    return (
        padded([decoder_ids(caption) for caption in captions]),
        padded([encoder_ids(question, random) for question, _ in asked]),
        padded([decoder_ids(answer) for _, answer in asked]),
        padded([encoder_ids(true, random) for true, _, _ in pairs]),
        padded([encoder_ids(false, random) for _, false, _ in pairs]),
    )


def prepare(scenes, pictures, random):
    yield pictures, labels(scenes), words(scenes, random)
    turned = [grammar.mirrored(scene) for scene in scenes]
    yield pictures.flip(2), labels(turned), words(turned, random)


class Lessons(train.Lessons):
    def forward(self, pictures, labels, words):
        captions, questions, answers, true, false = words
        embeds = self.family.image_embeds(models.pixel_values(pictures))
        half = len(embeds) // 2
        matching, contrast = self.family.matching_loss(embeds[:half], true[:half], false[:half])
        return self.vision.losses(embeds, *labels) | {
            "caption": self.family.caption_loss(embeds.repeat_interleave(CAPTIONS, 0), captions),
            "answer": self.family.answer_loss(embeds.repeat_interleave(QUESTIONS, 0), questions, answers),
            "matching": matching,
            "contrast": contrast,
        }


def begin(lessons):
    lessons.load_state_dict(torch.load(training.FOLDER / "family.pt", map_location="cpu")["module"])
    answering = models.trained_family(training.FOLDER / "answers.pt").answering
    lessons.family.answering.text_encoder.load_state_dict(answering.text_encoder.state_dict())
    lessons.family.answering.text_decoder.load_state_dict(answering.text_decoder.state_dict())


if __name__ == "__main__":
    given = training.options(steps=2900)
    torch.manual_seed(0)
    lessons = Lessons()
    begin(lessons)
    lessons.to(training.device())
    optimizers = training.make_optimizers(lessons, train.layers_of(lessons.family), 2e-3, 5e-4)
    training.train("on", lessons, optimizers, prepare, given, train.WEIGHTS | {"answer": 1.0}, decay=0.8)
