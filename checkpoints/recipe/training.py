"""The loop of all training: schedule, two optimizers, a log, and a state file from which an interrupted run continues."""

import argparse
import json
import os
import random
import time

import numpy
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

import drawing
import model as models
import scene_grammar as grammar
from muon import Muon

FOLDER = models.FOLDER / "training"


def parser(steps, batch=64):
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--workers", type=int, default=1, help="processes that draw; with a GPU as many as there are cores")
    return parser


def options(steps, batch=64):
    return parser(steps, batch).parse_args()


class Scenes(IterableDataset):
    """Endless batches of freshly drawn scenes; `prepare(scenes, pictures, random)` makes tensors of them. No picture is seen in two runs."""

    def __init__(self, name, size, first_step, prepare, drawn=True, plain_share=0.3):
        self.name, self.size, self.first_step, self.prepare = name, size, first_step, prepare
        self.drawn, self.plain_share = drawn, plain_share

    def __iter__(self):
        torch.set_num_threads(1)
        chance = random.Random(f"{self.name} {self.first_step}/{get_worker_info().id}")
        sprites, restyle = drawing.Sprites.training() if self.drawn else None, drawing.Restyled(chance)
        while True:
            scenes = [grammar.sample_scene(chance) for _ in range(self.size)]
            yield from self.prepare(scenes, self.pictures(scenes, sprites, restyle, chance) if self.drawn else None, chance)

    def pictures(self, scenes, sprites, restyle, chance):
        return torch.from_numpy(numpy.stack([
            numpy.asarray(drawing.draw(scene, sprites, chance, None if chance.random() < self.plain_share else restyle))
            for scene in scenes
        ]))


def learning_rate(step, steps, decay):
    """Learning rate, at most 1: rises over 200 steps, and falls to 0 over the last `decay` of all steps."""
    return min((step + 1) / 200, 1.0, (steps - step) / (decay * steps))


def make_optimizers(module, matrices, muon_rate, adamw_rate):
    """Muon for the matrices of transformer layers, AdamW for everything else."""
    chosen = {id(matrix) for matrix in matrices}
    others = [parameter for parameter in module.parameters() if id(parameter) not in chosen]
    return [Muon(matrices, muon_rate), torch.optim.AdamW(others, lr=adamw_rate, betas=(0.9, 0.98), weight_decay=0.0)]


def layer_matrices(*layers):
    return [parameter for layer in layers for parameter in layer.parameters() if parameter.ndim == 2]


def train(name, module, optimizers, prepare, given, weights, decay=0.35, bfloat16=False, drawn=True):
    """
    Trains until `given.steps`, from training/NAME.pt where that is there. `module(*batch)` returns losses by name, and
    figures for the log; a loss counts by its weight, and what has no weight is only logged. `bfloat16` multiplies matrices
    in that precision: three times as fast on processors that have it (AVX-512 BF16), slow on others. Without `drawn` scenes have no
    pictures.
    """
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.pt"
    device = next(module.parameters()).device
    highest = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    first = 0
    if path.exists():
        state = torch.load(path, map_location=device)
        module.load_state_dict(state["module"])
        for optimizer, stored in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(stored)
        first = state["step"]
    batches = iter(DataLoader(Scenes(name, given.batch, first, prepare, drawn), batch_size=None, num_workers=given.workers, prefetch_factor=4))
    started, sums = time.time(), {}
    for step in range(first, given.steps):
        rate = learning_rate(step, given.steps, decay)
        for group, most in zip([group for optimizer in optimizers for group in optimizer.param_groups], highest):
            group["lr"] = most * rate
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            figures = module(*on(device, next(batches)))
        sum(weights[key] * value for key, value in figures.items() if key in weights).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            for optimizer in optimizers:
                optimizer.step()
        for optimizer in optimizers:
            optimizer.zero_grad()
        for key, value in figures.items():
            total, count = sums.get(key, (0.0, 0))
            sums[key] = (total + float(value.detach()), count + 1)
        if (step + 1) % 50 == 0:
            line = {key: round(total / count, 4) for key, (total, count) in sums.items()}
            print(json.dumps(line | {"step": step + 1, "secondsPerStep": round((time.time() - started) / 50, 3)}), flush=True)
            started, sums = time.time(), {}
        if (step + 1) % 250 == 0 or step + 1 == given.steps:
            save(path, {"module": module.state_dict(), "optimizers": [each.state_dict() for each in optimizers], "step": step + 1})


def stored(name):
    """The weights of the module that `train` stored under a name."""
    return torch.load(FOLDER / f"{name}.pt", map_location="cpu")["module"]


def on(device, batch):
    """Moves tensors, or tuples of them, to the device."""
    return batch.to(device) if torch.is_tensor(batch) else [on(device, each) for each in batch]


def save(path, content):
    temporary = path.with_suffix(".part")
    torch.save(content, temporary)
    os.replace(temporary, path)


def device():
    return "cuda" if torch.cuda.is_available() else "cpu"
