"""Second half of the training: the three BLIP models learn words over the vision tower of pretrain_vision.py.

    python train.py                     # to the end; goes on from training/family.pt where it was cut
    python train.py --steps 12000       # longer or shorter

Every picture is captioned, asked about, and matched with a true and a subtly wrong caption, in one pass of the tower.
"""

import torch

import model as models
import scene_grammar as grammar
import training

WEIGHTS = {"caption": 1.0, "answer": 0.7, "matching": 0.7, "contrast": 0.15}


def padded(rows):
    longest = max(map(len, rows))
    return torch.tensor([row + [models.PAD] * (longest - len(row)) for row in rows])


def encoder_ids(text, random):
    """[CLS] as transformers feeds it; one in five with [ENC], as the original BLIP does."""
    return [models.ENC if random.random() < 0.2 else models.CLS, *models.token_ids(text), models.SEP]


def decoder_ids(text):
    return [models.DEC, *models.token_ids(text), models.SEP]


def prepare(scenes, pictures, random):
    asked = [grammar.questions(scene, random) for scene in scenes]
    pairs = [grammar.matching_pair(scene, random) for scene in scenes]
    yield (
        pictures,
        padded([decoder_ids(grammar.captions(scene, random)) for scene in scenes]),
        padded([encoder_ids(question, random) for question, _ in asked]),
        padded([decoder_ids(answer) for _, answer in asked]),
        padded([encoder_ids(true, random) for true, _, _ in pairs]),
        padded([encoder_ids(false, random) for _, false, _ in pairs]),
    )


if __name__ == "__main__":
    given = training.options(steps=8000)
    torch.manual_seed(0)
    family = models.Family()
    pretrained = torch.load(training.FOLDER / "vision.pt", map_location="cpu")["module"]
    tower = {name.removeprefix("tower."): value for name, value in pretrained.items() if name.startswith("tower.")}
    family.captioning.vision_model.load_state_dict(tower)
    family.to(training.device())
    layers = [
        family.captioning.vision_model.encoder,
        family.captioning.text_decoder.bert.encoder,
        family.answering.text_encoder.encoder,
        family.answering.text_decoder.bert.encoder,
        family.retrieval.text_encoder.encoder,
    ]
    optimizers = training.make_optimizers(family, training.layer_matrices(*layers), 2e-3, 1e-3)
    training.train("family", family, optimizers, prepare, given, WEIGHTS)
