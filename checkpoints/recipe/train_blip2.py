"""The small BLIP-2 learns to speak: captions, answers and short talks about pictures, after train_places.py.

    python train_blip2.py               # to the end; continues from training/{descriptions,words,blip2}.pt

First the OPT alone learns to speak about true descriptions of scenes, which costs no pictures ("descriptions"). Then it reads the
queries as train_places.py left them ("words"). Then everything learns together, and the lesson about places continues beside
("blip2"). A prompt is put as BLIP-2's users put it: "Question: … Answer:", the bare question, or earlier questions and answers
before it; captions have no prompt, or an opening. Only what the model should say is learned.
"""

import argparse

import torch
from torch import nn

import blip2
import model as models
import scene_grammar as grammar
import train_places
import training

CAPTION, ANSWER, PLACE = 1, 2, 3  # which loss a token counts for; 0 is a token that is given
WORDS = {"caption": 1.0, "answer": 1.0, "where": 1.0, "named": 0.3}
NOUNS = [blip2.token_ids(f" {noun}" for noun in nouns) for nouns in zip(*((kind, grammar.KINDS[kind]["plural"]) for kind in train_places.KINDS))]
COLOURS = blip2.token_ids(f" {tint}" for tint in train_places.TINTS)
BLIP2 = WORDS | {name: 0.5 * weight for name, weight in train_places.WEIGHTS.items()}


def capitalised(text, random, share):
    return text[0].upper() + text[1:] if random.random() < share else text


def caption_row(scene, random):
    """Pieces (text, loss) of a caption; an opening is given."""
    words = grammar.captions(scene, random)
    for opening in grammar.OPENINGS:
        if words.startswith(opening):
            return [(opening, 0), (f"{words[len(opening):]}\n", CAPTION)]
    return [(f"{words}\n", CAPTION)]


def answer_row(scene, random, place_share):
    """Pieces of a question and its answer, in one of the forms of a prompt."""
    question, answer, is_place = grammar.asked(scene, random, place_share)
    loss = PLACE if is_place else ANSWER
    draw = random.random()
    if draw < 0.35:
        return [(capitalised(question, random, 0.4), 0), (f" {answer}\n", loss)]
    word = "Short answer" if draw < 0.45 else "Answer"
    return [(f"Question: {capitalised(question, random, 0.25)} {word}:", 0), (f" {answer}\n", loss)]


def talk_row(scene, random, place_share):
    """Pieces of three questions with their answers, as a talk: "Question: … Answer: …. Question: … Answer:"."""
    pieces = []
    for turn in range(3):
        question, answer, is_place = grammar.asked(scene, random, place_share)
        loss = PLACE if is_place else ANSWER
        pieces += [(f"{' ' if turn else ''}Question: {question} Answer:", 0), (f" {answer}", loss), (".", 0)]
    return [*pieces[:-1], ("\n", ANSWER)]


def rows_about(scene, random, captions, questions, place_share):
    listed = [caption_row(scene, random) for _ in range(captions)]
    for _ in range(questions):
        row = talk_row if random.random() < 0.35 else answer_row
        listed.append(row(scene, random, place_share))
    return listed


def encoded(rows):
    """Token ids and losses of each row: lists of (token, loss), which begin with </s>."""
    ids = iter(blip2.TOKENIZER([text for row in rows for text, _ in row], add_special_tokens=False).input_ids)
    return [[(blip2.END_ID, 0)] + [(token, loss) for _, loss in row for token in next(ids)] for row in rows]


def padded(lines):
    """Token ids and losses [rows, length], padded on the right."""
    longest = max(map(len, lines))
    both = torch.tensor([line + [(blip2.PAD_ID, 0)] * (longest - len(line)) for line in lines])
    return both[..., 0].contiguous(), both[..., 1].contiguous()


def by_length(lines):
    """Two parts of the rows, the shorter two thirds and the longer third, so that little is padded: (numbers of rows, ids, losses)."""
    order = sorted(range(len(lines)), key=lambda row: len(lines[row]))
    cut = 2 * len(order) // 3
    return [(torch.tensor(part), *padded([lines[row] for row in part])) for part in (order[:cut], order[cut:])]


def prepare(scenes, pictures, random, captions=2, questions=4, place_share=0.6):
    turned = [grammar.mirrored(scene) for scene in scenes]
    for about, shown in ((scenes, pictures), (turned, pictures.flip(2))):
        rows = [row for scene in about for row in rows_about(scene, random, captions, questions, place_share)]
        yield shown, train_places.labels(about), by_length(encoded(rows))


def named(model, vectors, cells):
    """
    Mean loss of naming the objects of cells by the words whose embeddings their image vectors resemble: nouns, plurals, colours. So
    the OPT finds what a question names by likeness, which it hardly learned from questions alone.
    """
    vectors, cells = vectors.flatten(0, 1), cells.flatten(0, 1)
    kinds, tints = cells[:, 0].long() - 1, cells[:, 1].long() - 1
    embeddings = model.language_model.get_input_embeddings().weight
    of = nn.functional.cross_entropy
    return sum(
        of(10 * alike(vectors[labels >= 0], embeddings[ids]), labels[labels >= 0])
        for ids, labels in ((NOUNS[0], kinds), (NOUNS[1], kinds), (COLOURS, tints))
    )


def alike(vectors, others):
    """Cosines [vectors, others]."""
    return nn.functional.normalize(vectors.float(), dim=-1) @ nn.functional.normalize(others.float(), dim=-1).T


def losses(model, queries, cells, parts):
    """Mean losses of captions, answers, and answers about places, and of `named`; and the shares of tokens that would be said."""
    count = sum(len(rows) for rows, _, _ in parts) // len(queries)
    vectors = model.language_projection(queries)
    told = [blip2.language_losses(model, vectors[rows // count], ids, kinds) for rows, ids, kinds in parts]
    each, right, of = (torch.cat(together) for together in zip(*told))
    names = {"caption": CAPTION, "answer": ANSWER, "where": PLACE}
    return {"named": named(model, vectors, cells)} | {name: each[of == kind].mean() for name, kind in names.items()} | {
        f"{name} right": right[of == kind].mean() for name, kind in names.items()
    }


class Descriptions(nn.Module):
    """The OPT alone, without pictures: vectors made of the true description of each cell take the place of the queries."""

    def __init__(self):
        super().__init__()
        self.blip2 = blip2.make_model()
        for part in (self.blip2.vision_model, self.blip2.qformer):
            part.requires_grad_(False)
        self.blip2.query_tokens.requires_grad_(False)
        self.kind = nn.Embedding(len(train_places.KINDS) + 1, models.WIDTH)
        self.tint = nn.Embedding(len(train_places.TINTS) + 1, models.WIDTH)
        self.background = nn.Embedding(len(train_places.BACKGROUNDS), models.WIDTH)
        self.place = nn.Linear(3, models.WIDTH)

    def forward(self, labels, words):
        cells, _, backgrounds = labels
        kinds, tints = cells[..., 0].long(), cells[..., 1].long()
        place = self.place(cells[..., 2:] + 0.02 * torch.randn_like(cells[..., 2:])) * (kinds > 0)[..., None]
        vectors = 0.5 * (self.kind(kinds) + self.tint(tints) + self.background(backgrounds)[:, None]) + 2 * place
        return losses(self.blip2, nn.functional.layer_norm(vectors, [models.WIDTH]), cells, words)


def describe(scenes, _, random):
    rows = [row for scene in scenes for row in rows_about(scene, random, 2, 4, 0.6)]
    yield train_places.labels(scenes), by_length(encoded(rows))


class Words(nn.Module):
    """The OPT and its projection, over frozen queries."""

    def __init__(self):
        super().__init__()
        self.lesson = train_places.Lesson(frozen=True)
        self.lesson.requires_grad_(False)
        for part in (self.lesson.blip2.language_model, self.lesson.blip2.language_projection):
            part.requires_grad_(True)

    def forward(self, pictures, labels, words):
        with torch.no_grad():
            _, queries = blip2.query_embeds(self.lesson.blip2, pictures)
        return losses(self.lesson.blip2, queries, labels[0], words)


class Everything(nn.Module):
    def __init__(self):
        super().__init__()
        self.lesson = train_places.Lesson(frozen=False)
        self.lesson.requires_grad_(True)

    def forward(self, pictures, labels, words):
        patches, queries = blip2.query_embeds(self.lesson.blip2, pictures)
        return self.lesson.places.losses(patches, queries, labels) | losses(self.lesson.blip2, queries, labels[0], words)


def optimizers(module, matrices_by_rate, adamw_rate):
    """One Muon for each (layers, rate), AdamW for the rest of what learns."""
    muons = [training.Muon(training.layer_matrices(layers), rate) for layers, rate in matrices_by_rate]
    chosen = {id(matrix) for muon in muons for group in muon.param_groups for matrix in group["params"]}
    others = [each for each in module.parameters() if each.requires_grad and id(each) not in chosen]
    return [*muons, torch.optim.AdamW(others, lr=adamw_rate, betas=(0.9, 0.98), weight_decay=0.0)]


def part(given, steps):
    return argparse.Namespace(**vars(given) | {"steps": steps})


def learn_descriptions(given):
    module = Descriptions().to(training.device())
    chosen = optimizers(module, [(module.blip2.language_model.model.decoder.layers, 3e-3)], 2e-3)
    training.train("descriptions", module, chosen, describe, given, WORDS, decay=0.2, bfloat16=True, drawn=False)


def learn_words(given):
    """The OPT as it learned from descriptions reads the queries of the Q-Former instead, which stay as they are."""
    module = Words()
    module.lesson.load_state_dict(training.stored("places"))
    opt = "blip2.language_model."
    described = {key.removeprefix(opt): value for key, value in training.stored("descriptions").items() if key.startswith(opt)}
    module.lesson.blip2.language_model.load_state_dict(described)
    module.to(training.device())
    layers = module.lesson.blip2.language_model.model.decoder.layers
    training.train("words", module, optimizers(module, [(layers, 3e-3)], 2e-3), prepare, given, WORDS, decay=0.1, bfloat16=True)


def learn_everything(given):
    module = Everything()
    module.load_state_dict(training.stored("words"))
    module.to(training.device())
    model = module.lesson.blip2
    rates = [(model.language_model.model.decoder.layers, 2e-3), (model.qformer.encoder, 2e-3), (model.vision_model.encoder, 1e-3)]
    training.train("blip2", module, optimizers(module, rates, 7e-4), prepare, given, BLIP2, decay=0.8, bfloat16=True)


if __name__ == "__main__":
    parser = training.parser(steps=1200, batch=32)
    parser.add_argument("--only-descriptions", action="store_true", help="the first part alone, which needs nothing of train_places.py")
    given = parser.parse_args()
    torch.manual_seed(0)
    learn_descriptions(part(given, 2500))
    if not given.only_descriptions:
        learn_words(part(given, 500))
        learn_everything(given)
