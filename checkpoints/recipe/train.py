"""Trains the three BLIP models on scenes that are drawn while it learns; no picture is seen twice.

    python train.py                     # to the end; goes on from training/state.pt where it was cut
    python train.py --steps 12000       # longer or shorter

The learning rate is held, then falls to nothing over the last quarter of the steps.
"""

import argparse
import json
import os
import random
import time

import numpy
import torch
from torch.utils.data import DataLoader, IterableDataset

import drawing
import model as models
import scene_grammar as grammar

FOLDER = models.FOLDER / "training"


def padded(rows):
    longest = max(map(len, rows))
    return torch.tensor([row + [models.PAD] * (longest - len(row)) for row in rows])


def encoder_ids(text, random):
    """[CLS] as transformers feeds it; one in five with [ENC], as the original BLIP does."""
    return [models.ENC if random.random() < 0.2 else models.CLS, *models.token_ids(text), models.SEP]


class Batches(IterableDataset):
    """Endless batches; each worker and each run from a step draws with its own seed."""

    def __init__(self, size, seed):
        self.size, self.seed = size, seed

    def __iter__(self):
        torch.set_num_threads(1)
        worker = torch.utils.data.get_worker_info()
        chance = random.Random(f"{self.seed}/{worker.id if worker else 0}")
        sprites = drawing.Sprites.training()
        restyle = drawing.Restyled(chance)
        while True:
            scenes = [grammar.sample_scene(chance) for _ in range(self.size)]
            plain = [chance.random() < 0.25 for _ in scenes]
            pictures = [drawing.draw(scene, sprites, chance, None if as_is else restyle) for scene, as_is in zip(scenes, plain)]
            asked = [grammar.questions(scene, chance) for scene in scenes]
            pairs = [grammar.matching_pair(scene, chance) for scene in scenes]
            yield {
                "pixels": torch.from_numpy(numpy.stack([numpy.asarray(picture) for picture in pictures])),
                "captions": padded([[models.DEC, *models.token_ids(grammar.captions(scene, chance)), models.SEP] for scene in scenes]),
                "questions": padded([encoder_ids(question, chance) for question, _ in asked]),
                "answers": padded([[models.DEC, *models.token_ids(answer), models.SEP] for _, answer in asked]),
                "true": padded([encoder_ids(true, chance) for true, _, _ in pairs]),
                "false": padded([encoder_ids(false, chance) for _, false, _ in pairs]),
            }


def learning_rate(step, steps, highest):
    if step < 400:
        return highest * (step + 1) / 400
    fall_from = 0.72 * steps
    return highest if step < fall_from else highest * max(0.0, (steps - step) / (steps - fall_from))


def save(path, content):
    temporary = path.with_suffix(".part")
    torch.save(content, temporary)
    os.replace(temporary, path)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--steps", type=int, default=14000)
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--highest-learning-rate", type=float, default=1e-3)
    options.add_argument("--workers", type=int, default=1)
    options = options.parse_args()
    FOLDER.mkdir(exist_ok=True)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    family = models.Family().to(device)
    decayed = [p for p in family.parameters() if p.ndim > 1]
    others = [p for p in family.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
        lr=options.highest_learning_rate, betas=(0.9, 0.98), fused=True,
    )
    first = 0
    if (FOLDER / "state.pt").exists():
        state = torch.load(FOLDER / "state.pt", map_location=device)
        family.load_state_dict(state["family"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    loader = iter(DataLoader(Batches(options.batch, seed=first), batch_size=None, num_workers=options.workers, prefetch_factor=4))
    started, sums = time.time(), {}
    for step in range(first, options.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, options.steps, options.highest_learning_rate)
        batch = {name: value.to(device) for name, value in next(loader).items()}
        embeds = family.image_embeds(models.pixel_values(batch["pixels"]))
        losses = {
            "caption": family.caption_loss(embeds, batch["captions"]),
            "answer": family.answer_loss(embeds, batch["questions"], batch["answers"]),
        }
        if step % 2 == 1:
            half = len(embeds) // 2
            losses["matching"], losses["contrast"] = family.matching_loss(embeds[:half], batch["true"][:half], batch["false"][:half])
        weights = {"caption": 1.0, "answer": 0.7, "matching": 0.7, "contrast": 0.15}
        sum(weights[name] * loss for name, loss in losses.items()).backward()
        torch.nn.utils.clip_grad_norm_(family.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        for name, loss in losses.items():
            total, count = sums.get(name, (0.0, 0))
            sums[name] = (total + float(loss.detach()), count + 1)
        if (step + 1) % 50 == 0:
            line = {name: round(total / count, 4) for name, (total, count) in sums.items()}
            line |= {"step": step + 1, "secondsPerStep": round((time.time() - started) / 50, 3)}
            print(json.dumps(line), flush=True)
            with open(FOLDER / "log.jsonl", "a") as log:
                log.write(json.dumps(line) + "\n")
            started, sums = time.time(), {}
        if (step + 1) % 500 == 0 or step + 1 == options.steps:
            content = {"family": family.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            save(FOLDER / "state.pt", content)
            if step + 1 <= 0.72 * options.steps:  # training can be made longer from here
                save(FOLDER / "before-the-fall.pt", content)


if __name__ == "__main__":
    main()
