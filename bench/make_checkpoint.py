"""Makes a full-size checkpoint with random weights, for benchmarks and the full-size parity check.

    python bench/make_checkpoint.py FOLDER [base|large|vqa|itm|clip-b32|clip-l14]
    python bench/make_checkpoint.py FOLDER opt-2.7b|opt-6.7b|flan-t5-xl|itm-vit-g|... [float32|bfloat16]

The second line makes a BLIP-2 or InstructBLIP of SIZES in make_blip2_checkpoint.py, in some megabytes of memory. Every matrix has its own weights, because a runtime may share equal ones. They are scaled so that activations stay in range.
"""

import sys
from pathlib import Path

import torch
from make_blip2_checkpoint import SIZES, make_blip2
from transformers import (
    BertTokenizerFast,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipForQuestionAnswering,
    CLIPConfig,
    CLIPModel,
    CLIPTokenizerFast,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

BASE = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, image_size=384)
LARGE = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=384)
BLIP = {
    "base": (BlipForConditionalGeneration, BASE),
    "large": (BlipForConditionalGeneration, LARGE),
    "vqa": (BlipForQuestionAnswering, BASE),
    "itm": (BlipForImageTextRetrieval, BASE),
}
CLIP = {
    "clip-b32": dict(projection_dim=512, vision_config=dict(patch_size=32)),
    "clip-l14": dict(
        projection_dim=768,
        vision_config=dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14),
        text_config=dict(hidden_size=768, intermediate_size=3072, num_attention_heads=12),
    ),
}


def randomise(model):
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim < 2:
                norm = name.endswith("weight")
                parameter.normal_(1.0 if norm else 0.0, 0.05)
            else:
                parameter.normal_(0.0, 1.2 / parameter[0].numel() ** 0.5 if "embedding" not in name else 0.5)


def save_bert_tokenizer(folder):
    words = ["[PAD]"] + [f"[unused{i}]" for i in range(99)] + ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += list("abcdefghijklmnopqrstuvwxyz0123456789.,!?'-") + ["a", "picture", "of", "the", "photography", "two", "cats", "on"]
    words += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789"]
    words = list(dict.fromkeys(words))
    words += [f"word{i}" for i in range(30522 - len(words))]
    BertTokenizerFast(vocab={word: index for index, word in enumerate(words)}).save_pretrained(folder)


def save_clip_tokenizer(folder):
    letters = [chr(code) for code in range(33, 127)]
    tokens = letters + [f"{letter}</w>" for letter in letters]
    tokens += [f"token{i}" for i in range(49406 - len(tokens))] + ["<|startoftext|>", "<|endoftext|>"]
    CLIPTokenizerFast(vocab={token: index for index, token in enumerate(tokens)}, merges=[]).save_pretrained(folder)


def main(folder, size):
    if size in CLIP:
        model = CLIPModel(CLIPConfig(**CLIP[size]))
        save_clip_tokenizer(folder)
        CLIPImageProcessorPil().save_pretrained(folder)
    else:
        architecture, vision = BLIP[size]
        model = architecture(BlipConfig(text_config=dict(num_attention_heads=12, vocab_size=30524), vision_config=vision))
        save_bert_tokenizer(folder)
        BlipImageProcessorPil(size=dict(height=384, width=384)).save_pretrained(folder)
    randomise(model)
    model.save_pretrained(folder, max_shard_size="10GB")
    torch.save(model.state_dict(), Path(folder) / "weights.pt")  # The same weights as a torch archive, to compare loading times.
    (Path(folder) / "generation_config.json").unlink(missing_ok=True)


if __name__ == "__main__":
    folder, size, *precision = [*sys.argv[1:], "large"][: max(2, len(sys.argv) - 1)]
    if size in SIZES:
        make_blip2(folder, size, *precision)
    else:
        main(folder, size)
