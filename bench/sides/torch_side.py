"""Transformers on torch, a side of bench/compare.ts, bench/family.ts and bench/compare-blip2.ts.

    pip install -r test/fixtures/requirements.txt
    python bench/sides/torch_side.py TASK CHECKPOINT PRECISION THREADS [REQUEST]

TASK is captioning, question-answering, retrieval, clip or image-text-to-text; PRECISION is float32 or bfloat16. line_protocol.py
describes requests.
"""

import sys

import torch
from line_protocol import serve, texts_of
from PIL import Image
from transformers import (
    AutoModelForImageTextToText,
    AutoTokenizer,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipForQuestionAnswering,
    CLIPModel,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

ARCHITECTURES = {
    "captioning": BlipForConditionalGeneration,
    "question-answering": BlipForQuestionAnswering,
    "retrieval": BlipForImageTextRetrieval,
    "clip": CLIPModel,
    "image-text-to-text": AutoModelForImageTextToText,
}


class TorchSide:
    def __init__(self, task, checkpoint, precision):
        self.task, self.dtype = task, getattr(torch, precision)
        self.model = ARCHITECTURES[task].from_pretrained(checkpoint, dtype=self.dtype).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        is_instruct = self.model.config.model_type == "instructblip"
        self.instruction_tokenizer = AutoTokenizer.from_pretrained(checkpoint, subfolder="qformer_tokenizer") if is_instruct else None
        self.processor = (CLIPImageProcessorPil if task == "clip" else BlipImageProcessorPil).from_pretrained(checkpoint)

    def pixels(self, paths):
        pictures = [Image.open(path).convert("RGB") for path in paths]
        return self.processor(pictures, return_tensors="pt")["pixel_values"].to(self.dtype)

    def token_ids(self, texts):
        return self.tokenizer(texts, return_tensors="pt", padding=True)["input_ids"]

    def image_and_text(self, texts):
        """As Blip2Processor has it: a token for each vector of the image, and then the text."""
        ids = self.token_ids(texts)
        image = torch.full((len(ids), self.model.config.num_query_tokens), self.model.config.image_token_index)
        inputs = {"input_ids": torch.cat([image, ids], 1)}
        if self.instruction_tokenizer is not None:
            inputs["qformer_input_ids"] = self.instruction_tokenizer(texts, return_tensors="pt", padding=True)["input_ids"]
        return inputs | {"attention_mask": torch.ones_like(inputs["input_ids"])}

    @torch.inference_mode()
    def answer(self, request):
        """A row of numbers for each image; for each text where there are no images."""
        forced = dict(max_new_tokens=request["newTokens"], min_new_tokens=request["newTokens"])
        if not request["images"]:
            return self.model.get_text_features(self.token_ids(texts_of(request))).pooler_output.tolist()
        pixels = self.pixels(request["images"])
        if self.task == "clip":
            return self.model.get_image_features(pixels).pooler_output.tolist()
        if self.task == "captioning":
            return self.model.generate(pixel_values=pixels, **forced).tolist()
        if self.task == "image-text-to-text":
            return self.model.generate(pixel_values=pixels, **self.image_and_text(texts_of(request)), **forced).tolist()
        ids = self.token_ids(texts_of(request))
        if self.task == "question-answering":
            return self.model.generate(input_ids=ids, pixel_values=pixels, **forced).tolist()
        return self.model(ids, pixels).itm_score.softmax(-1)[:, 1:].tolist()


if __name__ == "__main__":
    task, checkpoint, precision, threads, *request = sys.argv[1:]
    torch.set_num_threads(int(threads))
    serve(TorchSide(task, checkpoint, precision).answer, {"precision": precision}, *request)
