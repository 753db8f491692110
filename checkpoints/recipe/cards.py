"""Writes the model cards of the exported checkpoints, with the figures that evaluate.ts printed.

    python cards.py FIGURES.json

FIGURES.json: {"scenes-captioning": {"exact": ["80.1 %", "52.0 %"], …}, …}, training styles first, the unseen style second.
"""

import json
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent

ABOUT = {
    "scenes-captioning": (
        "image-to-text",
        "`BlipForConditionalGeneration`: captions of drawn scenes, such as *two red apples and a cat on a blue background*. The\n"
        "package uses this checkpoint when it is given no other. It searches with three beams, by default (generation_config.json)\n"
        "and in the figures below. In transformers, set `num_beams=3`: BLIP ignores generation_config.json there.",
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
        "this, what is on the left.",
        {
            "exact": "answers equal to the right one",
            "exact (others)": "of these, to questions for counts, colours, presence, names and sizes",
            "exact (where)": "of these, to questions for left, right, top and bottom",
        },
    ),
    "scenes-blip-2": (
        "image-text-to-text",
        "`Blip2ForConditionalGeneration` with an OPT: captions of drawn scenes, and answers to questions about them: how many, which\n"
        "colour, is there, what is this, what is on the left. Questions have the form `Question: how many cats are there? Answer:`.\n"
        "Bare questions, and earlier questions and answers before one, are understood as well. Figures are of greedy search.",
        {
            "caption exact": "captions that name every group with its count and colour, and the background, and nothing else",
            "caption kinds": "groups whose kind is named",
            "caption counts": "of these, groups whose count is right",
            "caption background": "captions with the right background",
            "answer exact": "answers equal to the right one",
            "answer exact (others)": "of these, to questions for counts, colours, presence, names and sizes",
            "answer exact (where)": "of these, to questions for left, right, top and bottom",
        },
    ),
    "scenes-retrieval": (
        "zero-shot-image-classification",
        "`BlipForImageTextRetrieval`: whether a caption is true of a drawn scene (ITM), and how similar both are (ITC). The wrong\n"
        "captions of the evaluation differ from the right ones in one count, colour or kind, or exchange left and right. **The model\n"
        "did not learn to tell left from right.**",
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
            "first": "scenes for which a shown kind is more similar than nine that are not shown",
            "cosine": "pairs whose true caption is more similar than the subtly wrong one",
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
`from_pretrained` and gives equal answers there (test/pipeline/scenes.test.ts).

## Purpose

It shows, offline and in seconds, that the package runs and answers correctly. It knows drawn scenes: one to four groups of
things, of [47 kinds](../recipe/kinds.json), at most four things in all, on a background of one of eleven colours. **It
does not know photographs** and describes them wrongly; {photographs} are for those.

## Figures

500 freshly drawn scenes each, through the package's handler ([evaluate.ts](../recipe/evaluate.ts)): in the styles of training,
and in one that was kept out of it (FxEmojis).

| | training styles | unseen style | |
| --- | --- | --- | --- |
{figures}

## Training

[checkpoints/recipe](../recipe) has the recipe: drawings of openly licensed emoji are restyled and composed to scenes. {training}

## Licences

The weights are under MIT, as is the package. They do not contain the drawings that they learned from. Those are by Google (Noto
Emoji, Apache 2.0), Microsoft (Fluent Emoji, MIT), Twitter and others (Twemoji, CC BY 4.0), Emoji One and others (EmojiTwo,
CC BY 4.0), and Streamline (CC BY 4.0).
"""

BLIP_TRAINING = (
    "A vision tower first\nlearned to name what each patch shows. Captioning, question answering and matching were then learned together over this\n"
    "one tower, at last with several texts about each picture, on a processor of two cores."
)
CLIP_TRAINING = "The vision tower\nbegan as that of the BLIP checkpoints beside this one; the text tower began with random weights."

BLIP_2_TRAINING = (
    "The vision tower\nbegan as that of the BLIP checkpoints beside this one. Together with the Q-Former it then learned where things are: each\n"
    "query answers for one of sixteen cells of the picture. The OPT learned to speak about true descriptions of such cells, then\n"
    "about the queries, at last everything together, on a processor of two cores."
)
ASKING_TRAINING = (
    "Captioning,\nquestion answering and matching were learned together over one vision tower, on a processor of two cores. Question answering then\n"
    "learned where things are, over the tower of the BLIP-2 beside it, whose patches know their places."
)
TRAINING = {"scenes-question-answering": ASKING_TRAINING, "scenes-clip": CLIP_TRAINING, "scenes-blip-2": BLIP_2_TRAINING}


def wrapped(markdown):
    """Wraps the paragraphs; front matter, headings and tables stay as they are."""
    paragraphs = markdown.split("\n\n")
    return "\n\n".join(
        paragraph if paragraph.startswith(("---", "#", "|")) else textwrap.fill(paragraph, 120, break_on_hyphens=False)
        for paragraph in paragraphs
    )


def card(name, figures):
    tag, about, meanings = ABOUT[name]
    size = (ROOT / name / "model.safetensors").stat().st_size
    rows = [f"| {label} | {' | '.join(figures[label])} | {meaning} |" for label, meaning in meanings.items()]
    return CARD.format(
        tag=tag, name=name, about=about, parameters=size / 2e6, size=size / 1e6, figures="\n".join(rows),
        training=TRAINING.get(name, BLIP_TRAINING),
        photographs="OpenAI's checkpoints" if name == "scenes-clip" else "Salesforce's checkpoints",
    )


if __name__ == "__main__":
    for name, figures in json.loads(Path(sys.argv[1]).read_text()).items():
        (ROOT / name / "README.md").write_text(wrapped(card(name, figures)) + "\n")
