"""First half of the training: the vision tower alone learns to see, from dense labels that only drawn scenes have.

    python pretrain_vision.py                     # to the end; goes on from training/vision.pt where it was cut
    python pretrain_vision.py --steps 20000       # longer or shorter

Each patch is asked which kind of thing it shows and in what colour, the class token which background there is and how
many objects. Words come later (train.py): from captions alone, nothing was recognised after 1,500 steps.
Each picture is seen twice, the second time mirrored.
"""

import argparse
import json
import os
import random
import time

import numpy
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

import drawing
import model as models
import scene_grammar as grammar
from muon import Muon

FOLDER = models.FOLDER / "training"
KINDS, TINTS, BACKGROUNDS = list(grammar.KINDS), list(grammar.TINTS), list(grammar.BACKGROUNDS)


def patch_labels(scene):
    """[patches, patches, 2]: 0 for the background, else 1 + the number of the kind; the same of the tint."""
    centres = (numpy.arange(models.PATCHES) + 0.5) / models.PATCHES
    shown = numpy.zeros((models.PATCHES, models.PATCHES, 2), numpy.int64)
    for group in scene.groups:
        for placed in group.objects:
            reach = 0.42 * placed.side  # drawings do not fill their squares
            covered = numpy.outer(abs(centres - placed.y) < reach, abs(centres - placed.x) < reach)
            shown[covered] = (1 + KINDS.index(group.kind), 1 + TINTS.index(group.tint) if group.tint else 0)
    return shown


def scene_labels(scene):
    return BACKGROUNDS.index(scene.background), sum(len(group.objects) for group in scene.groups) - 1


class Batches(IterableDataset):
    def __init__(self, size, seed):
        self.size, self.seed = size, seed

    def __iter__(self):
        torch.set_num_threads(1)
        worker = torch.utils.data.get_worker_info()
        chance = random.Random(f"vision {self.seed}/{worker.id}")
        sprites, restyle = drawing.Sprites.training(), drawing.Restyled(chance)
        while True:
            scenes = [grammar.sample_scene(chance) for _ in range(self.size)]
            pictures = [drawing.draw(scene, sprites, chance, None if chance.random() < 0.3 else restyle) for scene in scenes]
            yield (
                torch.from_numpy(numpy.stack([numpy.asarray(picture) for picture in pictures])),
                torch.from_numpy(numpy.stack([patch_labels(scene) for scene in scenes])),
                torch.tensor([scene_labels(scene) for scene in scenes]),
            )


class Vision(nn.Module):
    def __init__(self):
        super().__init__()
        self.tower = models.Family().captioning.vision_model
        self.tower.embeddings.position_embedding.data.copy_(models.sine_positions())
        self.kind = nn.Linear(models.WIDTH, len(KINDS) + 1)
        self.tint = nn.Linear(models.WIDTH, len(TINTS) + 1)
        self.background = nn.Linear(models.WIDTH, len(BACKGROUNDS))
        self.count = nn.Linear(models.WIDTH, grammar.MAXIMUM_OBJECTS)

    def forward(self, pixels, patches, scenes):
        embeds = self.tower(models.pixel_values(pixels)).last_hidden_state
        kinds, tints = patches.flatten(1, 2).unbind(-1)
        kind_logits = self.kind(embeds[:, 1:])
        entropy = nn.functional.cross_entropy
        losses = {
            "kind": entropy(kind_logits.flatten(0, 1), kinds.flatten()),
            "tint": entropy(self.tint(embeds[:, 1:]).flatten(0, 1), tints.flatten()),
            "background": entropy(self.background(embeds[:, 0]), scenes[:, 0]),
            "count": entropy(self.count(embeds[:, 0]), scenes[:, 1]),
        }
        with torch.no_grad():
            shown = kinds > 0
            recognised = (kind_logits.argmax(-1) == kinds)[shown].float().mean()
        return losses, recognised


WEIGHTS = {"kind": 1.0, "tint": 0.3, "background": 0.1, "count": 0.1}


def learning_rate(step, steps):
    """1 at most: rises over 200 steps, falls over the last quarter."""
    return min((step + 1) / 200, 1.0, (steps - step) / (0.25 * steps))


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--steps", type=int, default=16000)
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--workers", type=int, default=1)
    options = options.parse_args()
    FOLDER.mkdir(exist_ok=True)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    vision = Vision().to(device)
    matrices = [p for p in vision.tower.encoder.parameters() if p.ndim == 2]
    chosen = {id(matrix) for matrix in matrices}
    optimizers = [
        Muon(matrices, 4e-3),
        torch.optim.AdamW([p for p in vision.parameters() if id(p) not in chosen], lr=1.5e-3, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    highest = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    first = 0
    if (FOLDER / "vision.pt").exists():
        state = torch.load(FOLDER / "vision.pt", map_location=device)
        vision.load_state_dict(state["vision"])
        for optimizer, stored in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(stored)
        first = state["step"]
    loader = iter(DataLoader(Batches(options.batch, first), batch_size=None, num_workers=options.workers, prefetch_factor=4))
    started, sums, batch = time.time(), {}, None
    for step in range(first, options.steps):
        rate = learning_rate(step, options.steps)
        for group, most in zip([group for optimizer in optimizers for group in optimizer.param_groups], highest):
            group["lr"] = most * rate
        if batch is None:
            pixels, patches, scenes = (value.to(device) for value in next(loader))
            batch = (pixels.flip(2), patches.flip(2), scenes)
        else:
            (pixels, patches, scenes), batch = batch, None
        losses, recognised = vision(pixels, patches, scenes)
        sum(WEIGHTS[name] * loss for name, loss in losses.items()).backward()
        torch.nn.utils.clip_grad_norm_(vision.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        for name, value in [*losses.items(), ("recognised", recognised)]:
            total, count = sums.get(name, (0.0, 0))
            sums[name] = (total + float(value.detach()), count + 1)
        if (step + 1) % 50 == 0:
            line = {name: round(total / count, 4) for name, (total, count) in sums.items()}
            line |= {"step": step + 1, "secondsPerStep": round((time.time() - started) / 50, 3)}
            print(json.dumps(line), flush=True)
            started, sums = time.time(), {}
        if (step + 1) % 250 == 0 or step + 1 == options.steps:
            content = {"vision": vision.state_dict(), "optimizers": [each.state_dict() for each in optimizers], "step": step + 1}
            torch.save(content, FOLDER / "vision.part")
            os.replace(FOLDER / "vision.part", FOLDER / "vision.pt")


if __name__ == "__main__":
    main()
