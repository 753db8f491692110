"""Writes the model cards of the exported checkpoints, with the figures that evaluate.ts printed.

    python cards.py FIGURES.json

FIGURES.json: {"scenes-captioning": {"exact": ["80.1 %", "52.0 %"], …}, …}, training styles first, the unseen style second.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

ABOUT = {
    "scenes-captioning": (
        "image-to-text",
        "`BlipForConditionalGeneration`: captions of drawn scenes, such as *two red apples and a cat on a blue background*. The\n"
        "checkpoint that the package uses when it is given no other. It searches with three beams, by default\n"
        "(generation_config.json) and in the figures below; in transformers say `num_beams=3`, BLIP does not look there itself.",
        {
            "exact": "captions that name every group with its count and colour, and the background, and nothing else",
            "kinds": "groups whose kind is named",
            "counts": "of these, groups whose count is right",
            "background": "captions with the right background",
        },
    ),
    "scenes-question-answering": (
        "visual-question-answering",
        "`BlipForQuestionAnswering`: answers of one to three words about drawn scenes: how many, which colour, is there, what is\n"
        "this. **Where things are it has not learned**: questions for left, right, top and bottom are answered about by chance.",
        {
            "exact": "answers equal to the right one",
            "exact (others)": "of these, to questions for counts, colours, presence, names and sizes",
            "exact (where)": "to questions for left, right, top and bottom",
        },
    ),
    "scenes-retrieval": (
        "zero-shot-image-classification",
        "`BlipForImageTextRetrieval`: whether a caption is true of a drawn scene (ITM), and how near both are (ITC). The wrong captions\n"
        "of the evaluation differ from the right ones in one count, colour or kind, or say left for right. **Left and right it has not\n"
        "learned to tell apart.**",
        {
            "judged": "true and wrong captions on the right side of a match probability of one half",
            "preferred": "pairs whose true caption has the higher match probability",
            "cosine": "pairs whose true caption has the higher similarity",
            "preferred (count)": "preferred, where a count is wrong",
            "preferred (kind)": "preferred, where a kind is wrong",
            "preferred (colour)": "preferred, where a colour is wrong",
            "preferred (side)": "preferred, where left and right are exchanged",
        },
    ),
    "scenes-clip": (
        "zero-shot-image-classification",
        "`CLIPModel`: embeddings of drawn scenes and of texts about them.",
        {
            "first": "scenes where a kind that is shown is nearer than nine that are not",
            "cosine": "pairs whose true caption is nearer than the subtly wrong one",
        },
    ),
}

CARD = """---
license: mit
pipeline_tag: {tag}
library_name: transformers
---

# {name}

{about}

{parameters:.1f} million parameters, {size:.1f} MB as float16; pictures of 128 pixels, patches of 16. It loads in transformers with
`from_pretrained` and gives the same answers there (test/pipeline/scenes.test.ts).

## What it is for

It shows that everything runs and is right, offline and in seconds. It knows drawn scenes: one to four groups of things, of
[47 kinds](../recipe/kinds.json), at most four things in all, on a background of one of eleven colours. **Of photographs it says
nonsense.** For those there are Salesforce's checkpoints.

## Figures

500 freshly drawn scenes each, through the package's handler ([evaluate.ts](../recipe/evaluate.ts)): in the styles of training, and in
one that was kept out of it (FxEmojis).

| | training styles | unseen style | |
| --- | --- | --- | --- |
{figures}

## How it was made

By [checkpoints/recipe](../recipe): drawings of openly licensed emoji, restyled and composed to scenes; {training}

## Licences

The weights are under MIT, as is the package. The drawings they learned from are not contained in them; they are by Google (Noto
Emoji, Apache 2.0), Microsoft (Fluent Emoji, MIT), Twitter and others (Twemoji, CC BY 4.0), Emoji One and others (EmojiTwo,
CC BY 4.0), and Streamline (CC BY 4.0).
"""

BLIP_TRAINING = (
    "a vision tower that first learned to name what each patch shows,\nthen captioning, question answering and matching together "
    "over this one tower, at last with several texts about each picture,\non a processor of two cores."
)
CLIP_TRAINING = "a vision tower that begins as that of the BLIP\ncheckpoints beside this one, and a text tower from nothing."


def card(name, figures):
    tag, about, meanings = ABOUT[name]
    size = (ROOT / name / "model.safetensors").stat().st_size
    rows = [f"| {label} | {' | '.join(figures[label])} | {meaning} |" for label, meaning in meanings.items()]
    return CARD.format(
        tag=tag, name=name, about=about, parameters=size / 2e6, size=size / 1e6, figures="\n".join(rows),
        training=CLIP_TRAINING if name == "scenes-clip" else BLIP_TRAINING,
    )


if __name__ == "__main__":
    for name, figures in json.loads(Path(sys.argv[1]).read_text()).items():
        (ROOT / name / "README.md").write_text(card(name, figures))
