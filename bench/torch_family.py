"""Measures transformers on torch: one answer, one match, one embedding. family.ts runs it, and reads one line for each.

    python bench/torch_family.py TASK CHECKPOINT IMAGE TEXT THREADS     # TASK: question-answering, retrieval, image, text
"""

import sys
import time

import torch
from PIL import Image
from transformers import AutoTokenizer, BlipForImageTextRetrieval, BlipForQuestionAnswering, CLIPModel
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

task, checkpoint, path, text, threads = sys.argv[1:6]
torch.set_num_threads(int(threads))
torch.set_grad_enabled(False)
tokenizer = AutoTokenizer.from_pretrained(checkpoint)
clip = task in ("image", "text")
architecture = CLIPModel if clip else BlipForQuestionAnswering if task == "question-answering" else BlipForImageTextRetrieval
model = architecture.from_pretrained(checkpoint).eval()
processor = (CLIPImageProcessorPil if clip else BlipImageProcessorPil).from_pretrained(checkpoint)


def measure():
    started = time.perf_counter()
    if task != "text":
        pixels = processor(Image.open(path).convert("RGB"), return_tensors="pt")["pixel_values"]
    if task != "image":
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
    if task == "question-answering":
        first = model.generate(input_ids=ids, pixel_values=pixels, max_new_tokens=3, min_new_tokens=3)[0, 1].item()
    elif task == "retrieval":
        first = model(ids, pixels).itm_score.softmax(-1)[0, 1].item()
    else:
        output = model.get_image_features(pixels) if task == "image" else model.get_text_features(ids)
        first = (output if isinstance(output, torch.Tensor) else output.pooler_output)[0, 0].item()
    print((time.perf_counter() - started) * 1000, first, flush=True)


print("ready", flush=True)
for _ in sys.stdin:
    measure()
