"""The small CLIP, as transformers defines it: its tokenizer, and a vision tower that begins with BLIP's weights."""

from collections import Counter

import torch
from tokenizers import pre_tokenizers
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

import model as models
from scene_grammar import vocabulary

START, END = "<|startoftext|>", "<|endoftext|>"
TEXT_LAYERS = 3
MAXIMUM_TOKENS = 40
SPREAD = 8.0  # standard deviation over the width; of those tried, it gave embeddings closest to BLIP's


def merges():
    """
    Merges byte pairs until every word of the grammar is one token: the most frequent first, equals in alphabetical order.
    The trainer of `tokenizers` orders equals differently in every process, and the order determines the ids.
    """
    words = [[*word[:-1], f"{word[-1]}</w>"] for word in vocabulary() if word.isalpha() and len(word) > 1]
    made = []
    while any(len(word) > 1 for word in words):
        counts = Counter(pair for word in words for pair in zip(word, word[1:]))
        made.append(min(counts, key=lambda pair: (-counts[pair], pair)))
        words = [joined(word, made[-1]) for word in words]
    return made


def joined(word, pair):
    """Joins every occurrence of a pair in a word, which is a list of pieces."""
    pieces = []
    for piece in word:
        if pieces and (pieces[-1], piece) == pair:
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces


def tokens(pairs):
    """All tokens in CLIP's order: bytes, bytes that end a word, merges, start, end."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    listed = [*alphabet, *(f"{letter}</w>" for letter in alphabet), *("".join(pair) for pair in pairs), START, END]
    return {token: index for index, token in enumerate(dict.fromkeys(listed))}


def make_tokenizer():
    pairs = merges()
    return CLIPTokenizer(vocab=tokens(pairs), merges=pairs, model_max_length=MAXIMUM_TOKENS)


def config(tokenizer):
    shape = dict(hidden_size=models.WIDTH, intermediate_size=4 * models.WIDTH, num_attention_heads=models.HEADS, hidden_act="gelu", projection_dim=models.WIDTH)
    return CLIPConfig(
        vision_config=shape | dict(num_hidden_layers=models.VISION_LAYERS, image_size=models.SIDE, patch_size=models.PATCH_SIDE),
        text_config=shape | dict(
            num_hidden_layers=TEXT_LAYERS, vocab_size=len(tokenizer), max_position_embeddings=MAXIMUM_TOKENS,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        ),
        projection_dim=models.WIDTH,
    )


def begin_as(clip, blip):
    """
    Copies the weights of BLIP's vision tower to CLIP's. CLIP's has no bias of the patches, so that bias is added to their
    positions. It normalises once more before its layers; this uses the spread that BLIP's embeddings have, so little changes.
    """
    given = {}
    for name, value in blip.state_dict().items():
        if name.endswith(("qkv.weight", "qkv.bias")):
            layer, kind = name.split(".qkv.")
            given |= {f"{layer}.{part}_proj.{kind}": piece for part, piece in zip("qkv", value.chunk(3))}
        elif not name.startswith("embeddings."):
            given[name.replace("self_attn.projection", "self_attn.out_proj")] = value
    embeddings = blip.embeddings
    positions = embeddings.position_embedding[0].detach().clone()
    positions[1:] += embeddings.patch_embedding.bias.detach()
    given |= {
        "embeddings.class_embedding": embeddings.class_embedding[0, 0],
        "embeddings.patch_embedding.weight": embeddings.patch_embedding.weight,
        "embeddings.position_embedding.weight": positions,
        "pre_layrnorm.weight": torch.full((models.WIDTH,), SPREAD),
        "pre_layrnorm.bias": torch.zeros(models.WIDTH),
    }
    clip.vision_model.load_state_dict(given)
