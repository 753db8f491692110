"""Measures a BLIP-2 of this recipe in transformers, on scenes of draw_scenes.py: the figures of evaluate.ts, without the package.

    python evaluate_blip2.py CHECKPOINT SCENES [--wrong 10] [--beams 1]

Prompts are none for captions and "Question: … Answer:" for questions.
"""

import argparse
import json
import re
from collections import Counter
from pathlib import Path

import torch
from PIL import Image
from transformers import Blip2ForConditionalGeneration, Blip2Processor

import scene_grammar as grammar

NOUNS = {noun: kind["name"] for kind in grammar.KINDS.values() for noun in (kind["name"], kind["plural"])}
COUNTS = {"a": 1, "an": 1, "two": 2, "three": 3, "four": 4}
BATCH = 50


def read_caption(caption):
    """The phrases and the background that a caption names."""
    caption = re.sub(r"^(a (picture|photo|photography) of|there (is|are)) ", "", caption)
    found = re.fullmatch(r"(.*) on an? (\w+) background", caption)
    return (re.split(r", | and ", found[1]), found[2]) if found else ([caption], "")


def judge_caption(caption, scene):
    phrases, background = read_caption(caption)
    named = {NOUNS.get(phrase.split(" ")[-1]): COUNTS.get(phrase.split(" ")[0]) for phrase in phrases}
    found = [group for group in scene["groups"] if group["kind"] in named]
    same = background == scene["background"]
    exact = same and sorted(phrases) == sorted(group["words"] for group in scene["groups"])
    counts = sum(named[group["kind"]] == group["count"] for group in found)
    return {"exact": (exact, 1), "kinds": (len(found), len(scene["groups"])), "counts": (counts, len(found)), "background": (same, 1)}


def judge_answer(answer, scene):
    exact = answer == scene["answer"]
    return {"exact": (exact, 1), "exact (where)" if grammar.PLACES.search(scene["question"]) else "exact (others)": (exact, 1)}


def spoken(model, processor, pictures, prompts, beams):
    """The continuations, without prompts."""
    inputs = processor(images=pictures, text=prompts, return_tensors="pt", padding=True)
    ids = model.generate(**inputs, max_new_tokens=30, num_beams=beams)[:, inputs.input_ids.shape[1]:]
    return [text.strip() for text in processor.batch_decode(ids, skip_special_tokens=True)]


def report(title, judged, said, wrong):
    right, of = Counter(), Counter()
    for figures in judged:
        for name, (hits, tries) in figures.items():
            right[name] += hits
            of[name] += tries
    print(title, *(f"{name} {100 * right[name] / of[name]:.1f} % of {of[name]}" for name in sorted(of)), sep="\n  ")
    misses = [line for line, figures in zip(said, judged) if not figures["exact"][0]]
    print(*(f"    {line}" for line in misses[:wrong]), sep="\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("scenes", type=Path)
    parser.add_argument("--wrong", type=int, default=0)
    parser.add_argument("--beams", type=int, default=1)
    given = parser.parse_args()
    scenes = json.loads((given.scenes / "scenes.json").read_text())
    model = Blip2ForConditionalGeneration.from_pretrained(given.checkpoint, dtype=torch.float32).eval()
    processor = Blip2Processor.from_pretrained(given.checkpoint)
    processor.tokenizer.padding_side = "left"
    captions, answers = [], []
    for first in range(0, len(scenes), BATCH):
        few = scenes[first : first + BATCH]
        pictures = [Image.open(given.scenes / scene["file"]).convert("RGB") for scene in few]
        captions += spoken(model, processor, pictures, [""] * len(few), given.beams)
        answers += spoken(model, processor, pictures, [f"Question: {scene['question']} Answer:" for scene in few], given.beams)
    told = [f"{caption} | {', '.join(group['words'] for group in scene['groups'])}, {scene['background']}" for caption, scene in zip(captions, scenes)]
    report("captions", [judge_caption(*pair) for pair in zip(captions, scenes)], told, given.wrong)
    told = [f"{scene['question']} {answer} | {scene['answer']}" for answer, scene in zip(answers, scenes)]
    report("answers", [judge_answer(*pair) for pair in zip(answers, scenes)], told, given.wrong)


if __name__ == "__main__":
    main()
