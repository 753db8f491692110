"""The small CLIP: its vision tower begins with the weights of train_on.py, its text tower with random ones.

    python train_clip.py                # to the end; continues from training/clip.pt

Each picture learns to find its caption among all of the batch, true and subtly wrong; the kinds that it shows among all
kinds; and the words for its groups ("two red cars") among those for others. Each caption learns to find its picture.
"""

import torch
from torch import nn
from transformers import CLIPModel

import clip
import model as models
import scene_grammar as grammar
import training

KINDS = list(grammar.KINDS)
TOKENIZER = clip.make_tokenizer()
WEIGHTS = {"caption": 1.0, "picture": 0.5, "kind": 1.0, "group": 1.0}


def token_ids(texts):
    """Token ids [texts, length], padded after their ends, because CLIP reads the embedding of the end."""
    return TOKENIZER(texts, padding=True, return_tensors="pt").input_ids


def opened(words, random):
    return f"{random.choice([*grammar.OPENINGS, '', '', ''])} {words}".strip()


def kind_words(kind, random):
    noun = grammar.KINDS[kind]
    words = random.choice([kind, grammar.with_article(kind), grammar.with_article(kind), noun["plural"]])
    return opened(words, random)


def lesson(scenes, pictures, random):
    pairs = [grammar.matching_pair(scene, random) for scene in scenes]
    said = [true if random.random() < 0.5 else grammar.captions(scene, random) for scene, (true, _, _) in zip(scenes, pairs)]
    shown = torch.zeros(len(scenes), len(KINDS))
    for row, scene in enumerate(scenes):
        shown[row, [KINDS.index(group.kind) for group in scene.groups]] = 1 / len(scene.groups)
    told = [random.choice(grammar.facts(scene)) for scene in scenes]
    true = torch.tensor([[float(group in grammar.facts(scene)) for group in told] for scene in scenes])
    texts = token_ids(
        said + [false for _, false, _ in pairs] + [kind_words(kind, random) for kind in KINDS]
        + [opened(grammar.group_words(*group), random) for group in told]
    )
    return pictures, texts, shown, true / true.sum(1, keepdim=True)


def prepare(scenes, pictures, random):
    yield lesson(scenes, pictures, random)
    yield lesson([grammar.mirrored(scene) for scene in scenes], pictures.flip(2), random)


class Clip(nn.Module):
    def __init__(self):
        super().__init__()
        self.clip = CLIPModel(clip.config(TOKENIZER))

    def forward(self, pictures, texts, shown, told):
        answer = self.clip(input_ids=texts, attention_mask=torch.ones_like(texts), pixel_values=models.pixel_values(pictures))
        count = len(pictures)
        logits = answer.logits_per_image  # [pictures, captions + wrong captions + kinds + groups]
        own = torch.arange(count, device=logits.device)
        kinds, groups = logits[:, 2 * count :].split([len(KINDS), count], 1)
        entropy = nn.functional.cross_entropy
        return {
            "caption": entropy(logits[:, : 2 * count], own),
            "picture": entropy(logits[:, :count].T, own),
            "kind": entropy(kinds, shown),
            "group": entropy(groups, told),
            "recognised": shown.gather(1, kinds.argmax(1, keepdim=True)).gt(0).float().mean(),
            "subtle": (logits[own, own] > logits[own, own + count]).float().mean(),
        }


if __name__ == "__main__":
    given = training.options(steps=1650)
    torch.manual_seed(0)
    module = Clip()
    family = models.trained_family(training.FOLDER / "on.pt")
    clip.begin_as(module.clip, family.captioning.vision_model)
    module.to(training.device())
    layers = training.layer_matrices(module.clip.vision_model.encoder, module.clip.text_model.encoder)
    training.train("clip", module, training.make_optimizers(module, layers, 2e-3, 1e-3), prepare, given, WEIGHTS)
