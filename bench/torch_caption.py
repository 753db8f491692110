"""Captions with transformers on torch, and prints the time: the other side of bench/compare.ts.

    python bench/torch_caption.py CHECKPOINT IMAGE THREADS once     one caption, then exit
    python bench/torch_caption.py CHECKPOINT IMAGE THREADS serve    a caption for each line on stdin; prints milliseconds
"""

import sys
import time

import torch
from PIL import Image
from transformers import BlipForConditionalGeneration, BlipProcessor

checkpoint, image_path, threads, mode = sys.argv[1:5]
torch.set_num_threads(int(threads))
model = BlipForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).eval()
processor = BlipProcessor.from_pretrained(checkpoint)


def caption():
    start = time.perf_counter()
    inputs = processor(Image.open(image_path).convert("RGB"), return_tensors="pt")
    with torch.no_grad():
        ids = model.generate(**inputs, max_new_tokens=20, min_new_tokens=20)
    text = processor.decode(ids[0], skip_special_tokens=True)
    return (time.perf_counter() - start) * 1000, ids[0].tolist(), text


if mode == "once":
    print(caption()[1], flush=True)
else:
    print("ready", flush=True)
    for _ in sys.stdin:
        milliseconds, ids, _ = caption()
        print(f"{milliseconds} {','.join(map(str, ids))}", flush=True)
