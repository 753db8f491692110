"""The lesson that asks where things are: the first part of the training of the small BLIP-2, before it reads a word.

    python train_places.py              # to the end; continues from training/places.pt

The vision tower begins with the weights of the shipped captioning. Each query of the Q-Former answers for one cell of
the picture: which kind of thing has its centre there, in which colour, where exactly, and how large. Objects hardly overlap, so
a cell of a quarter of the side has one centre at most. Each patch learns the same of the object that it shows, so that the tower
itself keeps positions. Each picture is used twice, the second time mirrored.
"""

import argparse

import numpy
import torch
from torch import nn

import blip2
import model as models
import scene_grammar as grammar
import training
from keep_places import keep_places

KINDS, TINTS, BACKGROUNDS = list(grammar.KINDS), list(grammar.TINTS), list(grammar.BACKGROUNDS)
WEIGHTS = {
    "kind": 1.0, "tint": 0.3, "place": 3.0, "background": 0.1,
    "patch kind": 0.3, "patch tint": 0.1, "patch place": 2.0,
}


def described(group, placed):
    """1 + the number of the kind, 1 + that of the tint or 0, and the centre and the side of the object."""
    return 1 + KINDS.index(group.kind), 1 + TINTS.index(group.tint) if group.tint else 0, placed.x, placed.y, placed.side


def shown_in(scene, along, covers):
    """Descriptions [along, along, 5] of the object that each square shows, 0 where it shows none."""
    centres = (numpy.arange(along) + 0.5) / along
    shown = numpy.zeros((along, along, 5), numpy.float32)
    for group in scene.groups:
        for placed in group.objects:
            reach = covers(placed)
            covered = numpy.outer(abs(centres - placed.y) <= reach, abs(centres - placed.x) <= reach)
            shown[covered] = described(group, placed)
    return shown.reshape(-1, 5)


def labels(scenes):
    """Descriptions of cells [scenes, cells, 5] and of patches [scenes, patches, 5], and the backgrounds [scenes]."""
    return (
        torch.from_numpy(numpy.stack([shown_in(scene, blip2.CELLS, lambda _: 0.5 / blip2.CELLS) for scene in scenes])),
        torch.from_numpy(numpy.stack([shown_in(scene, models.PATCHES, lambda placed: 0.42 * placed.side) for scene in scenes])),
        torch.tensor([BACKGROUNDS.index(scene.background) for scene in scenes]),
    )


def prepare(scenes, pictures, _):
    yield pictures, labels(scenes)
    yield pictures.flip(2), labels([grammar.mirrored(scene) for scene in scenes])


class Described(nn.Module):
    """Heads that describe the object of a cell or of a patch."""

    def __init__(self):
        super().__init__()
        self.kind = nn.Linear(models.WIDTH, len(KINDS) + 1)
        self.tint = nn.Linear(models.WIDTH, len(TINTS) + 1)
        self.place = nn.Linear(models.WIDTH, 3)

    def forward(self, embeds, shown):
        """`embeds` [scenes, squares, width], `shown` [scenes, squares, 5]: mean losses, and the logits of kinds."""
        embeds, shown = embeds.flatten(0, 1), shown.flatten(0, 1)
        kinds, tints = shown[:, 0].long(), shown[:, 1].long()
        occupied = kinds > 0
        logits = self.kind(embeds).float()
        off = (self.place(embeds[occupied]).float() - shown[occupied, 2:]).abs()
        return {
            "kind": nn.functional.cross_entropy(logits, kinds),
            "tint": nn.functional.cross_entropy(self.tint(embeds[occupied]).float(), tints[occupied]),
            "place": off.mean(),
            "off by": off[:, :2].mean(),
            "recognised": (logits.argmax(-1) == kinds)[occupied].float().mean(),
        }, logits


class Places(nn.Module):
    """Heads over the queries and over the patches. They are of use in training alone."""

    def __init__(self):
        super().__init__()
        self.cells, self.patches = Described(), Described()
        self.background = nn.Linear(models.WIDTH, len(BACKGROUNDS))

    def losses(self, patches, queries, labels):
        """`patches` [scenes, 1 + patches, width], `queries` [scenes, queries, width]; `labels` as above."""
        cell_labels, patch_labels, backgrounds = labels
        figures, logits = self.cells(queries, cell_labels)
        of_patches, _ = self.patches(patches[:, 1:], patch_labels)
        right = (logits.argmax(-1).unflatten(0, queries.shape[:2]) == cell_labels[..., 0]).all(1)
        background = self.background(queries.mean(1)).float()
        return figures | {f"patch {name}": value for name, value in of_patches.items()} | {
            "background": nn.functional.cross_entropy(background, backgrounds),
            "every cell": right.float().mean(),
        }


class Lesson(nn.Module):
    """The BLIP-2 and its lessons; `frozen` keeps the tower as it is, until the new layers know how to read it."""

    def __init__(self, frozen):
        super().__init__()
        self.blip2 = blip2.make_model()
        self.blip2.language_model.requires_grad_(False)
        self.blip2.language_projection.requires_grad_(False)
        self.blip2.vision_model.requires_grad_(not frozen)
        self.places = Places()

    def forward(self, pictures, labels):
        return self.places.losses(*blip2.query_embeds(self.blip2, pictures), labels)

    def optimizers(self, tower_rate, new_rate):
        tower, queries = self.blip2.vision_model, self.blip2.qformer
        matrices = [training.layer_matrices(part.encoder) for part in (queries, tower)]
        chosen = {id(matrix) for matrix in sum(matrices, [])}
        others = [parameter for parameter in self.blip2.parameters() if id(parameter) not in chosen]
        return [
            training.Muon(matrices[0], new_rate), training.Muon(matrices[1], tower_rate),
            torch.optim.AdamW(others, lr=new_rate / 3, betas=(0.9, 0.98), weight_decay=0.0),
            torch.optim.AdamW(self.places.parameters(), lr=new_rate, betas=(0.9, 0.98), weight_decay=0.0),
        ]


def train(name, given, begun=None, tower_rate=0.0, new_rate=3e-3, decay=0.35):
    lesson = Lesson(frozen=tower_rate == 0)
    if begun:
        lesson.load_state_dict(training.stored(begun))
    else:
        keep_places(lesson.blip2)
    lesson.to(training.device())
    optimizers = lesson.optimizers(tower_rate, new_rate)
    training.train(name, lesson, optimizers, prepare, given, WEIGHTS, decay=decay, bfloat16=True)


if __name__ == "__main__":
    given = training.options(steps=1500)
    torch.manual_seed(0)
    train("queries", argparse.Namespace(**vars(given) | {"steps": 250}), decay=0.1)
    train("places", given, begun="queries", tower_rate=1.5e-3, decay=0.6)
