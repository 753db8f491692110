"""Second part of the training: the three BLIP models learn words over the vision tower of pretrain_vision.py.

    python train.py                     # to the end; continues from training/family.pt
    python train.py --steps 12000       # longer or shorter

Every picture gets a caption, a question, and a true and a subtly wrong caption to match, in one pass of the tower. The tower
continues to name what each patch shows. Each picture is used twice, the second time mirrored.
"""

import torch
from torch import nn

import model as models
import scene_grammar as grammar
import training
from pretrain_vision import Vision, labels

WEIGHTS = {"caption": 1.0, "answer": 0.7, "matching": 0.7, "contrast": 0.15, "kind": 0.5, "tint": 0.2, "background": 0.05, "count": 0.05}


def padded(rows):
    longest = max(map(len, rows))
    return torch.tensor([row + [models.PAD] * (longest - len(row)) for row in rows])


def encoder_ids(text, random):
    """Begins rows with [CLS], as transformers does, and one in five with [ENC], as the original BLIP does."""
    return [models.ENC if random.random() < 0.2 else models.CLS, *models.token_ids(text), models.SEP]


def decoder_ids(text):
    return [models.DEC, *models.token_ids(text), models.SEP]


def words(scenes, random, captions=1, questions=1, side_share=0.3):
    """Rows of token ids: `amounts` of captions and questions for each scene, and a pair to match."""
    asked = [grammar.questions(scene, random) for scene in scenes for _ in range(questions)]
    pairs = [grammar.matching_pair(scene, random, side_share) for scene in scenes]
    return (
        padded([decoder_ids(grammar.captions(scene, random)) for scene in scenes for _ in range(captions)]),
        padded([encoder_ids(question, random) for question, _ in asked]),
        padded([decoder_ids(answer) for _, answer in asked]),
        padded([encoder_ids(true, random) for true, _, _ in pairs]),
        padded([encoder_ids(false, random) for _, false, _ in pairs]),
    )


def prepare(scenes, pictures, random, **amounts):
    """Tensors of a batch; `amounts` as in `words`."""
    yield pictures, labels(scenes), words(scenes, random, **amounts)
    turned = [grammar.mirrored(scene) for scene in scenes]
    yield pictures.flip(2), labels(turned), words(turned, random, **amounts)


class Lessons(nn.Module):
    """All losses of a batch of pictures, in one pass of the tower."""

    def __init__(self):
        super().__init__()
        self.family = models.Family()
        self.vision = Vision(self.family.captioning.vision_model)

    def forward(self, pictures, labels, words):
        embeds = self.family.image_embeds(models.pixel_values(pictures))
        return self.vision.losses(embeds, *labels) | self.family.losses(embeds, *words)


def layers_of(family):
    return training.layer_matrices(
        family.captioning.vision_model.encoder,
        family.captioning.text_decoder.bert.encoder,
        family.answering.text_encoder.encoder,
        family.answering.text_decoder.bert.encoder,
        family.retrieval.text_encoder.encoder,
    )


if __name__ == "__main__":
    given = training.options(steps=10400)
    torch.manual_seed(0)
    lessons = Lessons()
    lessons.vision.load_state_dict(torch.load(training.FOLDER / "vision.pt", map_location="cpu")["module"])
    lessons.to(training.device())
    optimizers = training.make_optimizers(lessons, layers_of(lessons.family), 3e-3, 1e-3)
    training.train("family", lessons, optimizers, prepare, given, WEIGHTS)
