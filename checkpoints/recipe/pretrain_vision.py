"""First part of the training: the vision tower alone learns to see, from labels of patches that only drawn scenes have.

    python pretrain_vision.py                     # to the end; continues from training/vision.pt
    python pretrain_vision.py --steps 20000       # longer or shorter

Each patch learns to name the kind of thing that it shows, and its colour; the class token learns the background and the
number of objects. Words come later (train.py), because from captions alone the tower recognised nothing after 1,500 steps.
Each picture is used twice, the second time mirrored.
"""

import numpy
import torch
from torch import nn

import model as models
import scene_grammar as grammar
import training

KINDS, TINTS, BACKGROUNDS = list(grammar.KINDS), list(grammar.TINTS), list(grammar.BACKGROUNDS)
WEIGHTS = {"kind": 1.0, "tint": 0.3, "background": 0.1, "count": 0.1}


def patch_labels(scene):
    """Labels [patches, patches, 2]: 0 for the background, else 1 + the number of the kind; and likewise of the tint."""
    centres = (numpy.arange(models.PATCHES) + 0.5) / models.PATCHES
    shown = numpy.zeros((models.PATCHES, models.PATCHES, 2), numpy.int64)
    for group in scene.groups:
        for placed in group.objects:
            reach = 0.42 * placed.side  # because drawings do not fill their squares
            covered = numpy.outer(abs(centres - placed.y) < reach, abs(centres - placed.x) < reach)
            shown[covered] = (1 + KINDS.index(group.kind), 1 + TINTS.index(group.tint) if group.tint else 0)
    return shown


def scene_labels(scene):
    return BACKGROUNDS.index(scene.background), sum(len(group.objects) for group in scene.groups) - 1


def labels(scenes):
    return torch.from_numpy(numpy.stack([patch_labels(scene) for scene in scenes])), torch.tensor([scene_labels(scene) for scene in scenes])


def prepare(scenes, pictures, _):
    yield pictures, *labels(scenes)
    yield pictures.flip(2), *labels([grammar.mirrored(scene) for scene in scenes])


class Vision(nn.Module):
    """A vision tower, and the heads that learn from its embeddings."""

    def __init__(self, tower):
        super().__init__()
        self.tower = tower
        self.kind = nn.Linear(models.WIDTH, len(KINDS) + 1)
        self.tint = nn.Linear(models.WIDTH, len(TINTS) + 1)
        self.background = nn.Linear(models.WIDTH, len(BACKGROUNDS))
        self.count = nn.Linear(models.WIDTH, grammar.MAXIMUM_OBJECTS)

    def forward(self, pictures, patches, scenes):
        return self.losses(self.tower(models.pixel_values(pictures)).last_hidden_state, patches, scenes)

    def losses(self, embeds, patches, scenes):
        """`embeds` [pictures, 1 + patches, width]."""
        kinds, tints = patches.flatten(1, 2).unbind(-1)
        kind_logits = self.kind(embeds[:, 1:])
        entropy = nn.functional.cross_entropy
        return {
            "kind": entropy(kind_logits.flatten(0, 1), kinds.flatten()),
            "tint": entropy(self.tint(embeds[:, 1:]).flatten(0, 1), tints.flatten()),
            "background": entropy(self.background(embeds[:, 0]), scenes[:, 0]),
            "count": entropy(self.count(embeds[:, 0]), scenes[:, 1]),
            "recognised": (kind_logits.argmax(-1) == kinds)[kinds > 0].float().mean(),
        }


if __name__ == "__main__":
    given = training.options(steps=16000)
    torch.manual_seed(0)
    tower = models.Family().captioning.vision_model
    tower.embeddings.position_embedding.data.copy_(models.sine_positions())
    vision = Vision(tower).to(training.device())
    optimizers = training.make_optimizers(vision, training.layer_matrices(vision.tower.encoder), 4e-3, 1.5e-3)
    training.train("vision", vision, optimizers, prepare, given, WEIGHTS)
