"""Makes a full-size BLIP checkpoint with random weights, for benchmarks and the full-size parity check.

    python bench/make_checkpoint.py FOLDER [base|large]

Every matrix has weights of its own (a runtime may share equal ones), scaled so that activations stay in range.
"""

import sys
from pathlib import Path

import torch
from transformers import BertTokenizerFast, BlipConfig, BlipForConditionalGeneration
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

VISION = {
    "base": dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, image_size=384),
    "large": dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=384),
}


def main(folder, size):
    torch.manual_seed(0)
    text = dict(num_attention_heads=12, vocab_size=30524)
    model = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=VISION[size]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim < 2:
                norm = name.endswith("weight")
                parameter.normal_(1.0 if norm else 0.0, 0.05)
            else:
                parameter.normal_(0.0, 1.2 / parameter[0].numel() ** 0.5 if "embedding" not in name else 0.5)
    model.save_pretrained(folder, max_shard_size="10GB")
    words = ["[PAD]"] + [f"[unused{i}]" for i in range(99)] + ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += list("abcdefghijklmnopqrstuvwxyz0123456789.,!?'-") + ["a", "picture", "of", "the", "photography", "two", "cats", "on"]
    words += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789"]
    words = list(dict.fromkeys(words))
    words += [f"word{i}" for i in range(30522 - len(words))]
    BertTokenizerFast(vocab={word: index for index, word in enumerate(words)}).save_pretrained(folder)
    BlipImageProcessorPil(size=dict(height=384, width=384)).save_pretrained(folder)
    (Path(folder) / "generation_config.json").unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "large")
