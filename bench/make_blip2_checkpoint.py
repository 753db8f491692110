"""Full-size checkpoints of BLIP-2 and InstructBLIP with random weights, for bench/make_checkpoint.py.

A model of gigabytes is never in memory: transformers says which tensors it has on a device without memory, and each is
written from one block of random numbers, which begins elsewhere for each tensor. So no two matrices are equal.
"""

import json
import math
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertTokenizerFast, PreTrainedTokenizerFast
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

SHARD_BYTES = 9_900_000_000  # As the published ones.
BLOCK_SIZE = 16_777_259  # A prime, so that rows of a matrix never begin at the same place.
STEP_OF_STARTS = 7_368_787
TRAINING_TEXTS = ["Question: how many cats are there? Answer: two", "a photo of two cats on the pink sofa", "What is unusual about this image?"] * 4
PRECISIONS = {"float32": "F32", "bfloat16": "BF16"}

GENERATING = dict(architecture="Blip2ForConditionalGeneration", qformer_config={})
INSTRUCTED = dict(architecture="InstructBlipForConditionalGeneration", qformer_config=dict(vocab_size=30523))
OPT = dict(model_type="opt", vocab_size=50304, num_hidden_layers=32, num_attention_heads=32, eos_token_id=50118)
OPT_2_7B = OPT | dict(hidden_size=2560, word_embed_proj_dim=2560, ffn_dim=10240)
OPT_6_7B = OPT | dict(hidden_size=4096, word_embed_proj_dim=4096, ffn_dim=16384)
T5_XL = dict(
    model_type="t5",
    vocab_size=32128,
    d_model=2048,
    d_kv=64,
    d_ff=5120,
    num_layers=24,
    num_decoder_layers=24,
    num_heads=32,
    feed_forward_proj="gated-gelu",
    dense_act_fn="gelu",
    tie_word_embeddings=False,
    bos_token_id=1,
    decoder_start_token_id=0,
)
VICUNA_7B = dict(model_type="llama", vocab_size=32064, rms_norm_eps=1e-6, bos_token_id=0, eos_token_id=1, pad_token_id=32000)
SMALL_VISION = dict(hidden_size=176, intermediate_size=768, num_hidden_layers=2, num_attention_heads=2)
SMALL_Q_FORMER = dict(hidden_size=96, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4)
SMALL = dict(vision_config=SMALL_VISION, qformer_config=SMALL_Q_FORMER, num_query_tokens=32)

SIZES = {
    "opt-2.7b": GENERATING | dict(text_config=OPT_2_7B),
    "opt-6.7b": GENERATING | dict(text_config=OPT_6_7B),
    "flan-t5-xl": GENERATING | dict(text_config=T5_XL),
    "instructblip-flan-t5-xl": INSTRUCTED | dict(text_config=T5_XL),
    "instructblip-vicuna-7b": INSTRUCTED | dict(text_config=VICUNA_7B),
    "itm-vit-g": dict(architecture="Blip2ForImageTextRetrieval", qformer_config=dict(vocab_size=30523, use_qformer_text_input=True), text_config=dict(model_type="opt")),
    # To rehearse with: some megabytes, mostly embeddings.
    "opt-small": GENERATING | SMALL | dict(text_config=OPT_2_7B | dict(hidden_size=128, word_embed_proj_dim=128, ffn_dim=256, num_hidden_layers=3, num_attention_heads=4)),
    "t5-small": GENERATING | SMALL | dict(text_config=T5_XL | dict(d_model=128, d_ff=320, d_kv=32, num_layers=3, num_decoder_layers=3, num_heads=4)),
}


def filled(vocabulary, size):
    """Words that no text has, so that the vocabulary is as long as a published one."""
    return vocabulary | {f"word{index}": index for index in range(len(vocabulary), size)}


def trained(words, trainer, size):
    words.train_from_iterator(TRAINING_TEXTS, trainer)
    definition = json.loads(words.to_str())
    definition["model"]["vocab"] = filled(definition["model"]["vocab"], size)
    return definition


def with_end_of_text(definition, specials):
    """"</s>" begins a text, and few of the trainer's special tokens are special."""
    definition["added_tokens"] = [token for token in definition["added_tokens"] if token["content"] in specials]
    words = Tokenizer.from_str(json.dumps(definition))
    words.post_processor = processors.TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 2)])
    return words


def opt_words():
    words = Tokenizer(models.BPE())
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=["<s>", "<pad>", "</s>", "<unk>"], initial_alphabet=alphabet, show_progress=False)
    definition = trained(words, trainer, 50265)
    vocabulary = definition["model"]["vocab"]
    newline = vocabulary.pop("\u010a")  # Published ones have it where config.json says that a text ends.
    vocabulary["word50118"] = newline
    vocabulary["\u010a"] = 50118
    words = with_end_of_text(definition, ("<pad>", "</s>"))
    return PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="</s>", eos_token="</s>", unk_token="</s>", pad_token="<pad>", additional_special_tokens=["<image>"]
    )


def t5_words():
    """Whole words of the prompts, and letters for all others."""
    texts = dict.fromkeys(f"\u2581{word}" for text in TRAINING_TEXTS for word in text.split())
    letters = dict.fromkeys("\u2581abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?:'-")
    pieces = [(piece, 0.0) for piece in ("<pad>", "</s>", "<unk>")] + [(text, -3.0) for text in texts] + [(letter, -9.0) for letter in letters]
    pieces += [(f"word{index}", -99.0) for index in range(len(pieces), 32000)]
    words = Tokenizer(models.Unigram(pieces, unk_id=2))
    words.normalizer = normalizers.NFKC()
    words.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    words.decoder = decoders.Metaspace()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    sentinels = [f"<extra_id_{number}>" for number in range(100)]
    return PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token="</s>", unk_token="<unk>", pad_token="<pad>", additional_special_tokens=[*sentinels, "<image>"]
    )


def llama_words():
    words = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    words.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    words.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    specials = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=specials, show_progress=False)
    words = with_end_of_text(trained(words, trainer, 32000), ("<unk>", "<s>", "</s>"))
    return PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="</s>", eos_token="</s>", unk_token="<unk>", pad_token="[PAD]", additional_special_tokens=["<image>"]
    )


def bert_words():
    words = ["[PAD]"] + [f"[unused{number}]" for number in range(99)] + ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += list("abcdefghijklmnopqrstuvwxyz0123456789.,!?:'-") + " ".join(TRAINING_TEXTS[:3]).lower().replace("?", "").replace(":", "").split()
    words = list(dict.fromkeys(words + [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789"]))
    words += [f"word{number}" for number in range(30522 - len(words))]
    return BertTokenizerFast(vocab={word: index for index, word in enumerate([*words, "[DEC]"])})


def save_words(folder, size):
    """Saves the tokenizers; returns the token that stands for a vector of the image."""
    if SIZES[size]["architecture"] == "Blip2ForImageTextRetrieval":
        bert_words().save_pretrained(folder)
        return 30523
    if SIZES[size]["architecture"].startswith("Instruct"):
        bert_words().save_pretrained(folder / "qformer_tokenizer")
    words = {"opt": opt_words, "t5": t5_words, "llama": llama_words}[SIZES[size]["text_config"]["model_type"]]()
    words.save_pretrained(folder)
    return words.convert_tokens_to_ids("<image>")


def configuration(size, image_token):
    settings = dict(SIZES[size])
    architecture = getattr(transformers, settings.pop("architecture"))
    return architecture, architecture.config_class(image_token_index=image_token, architectures=[architecture.__name__], **settings)


def stored_tensors(architecture, config):
    """Names and shapes as published files have them: the head of T5 is its own, though transformers 5 calls it tied."""
    with torch.device("meta"):
        model = architecture(config)
    owned = ["language_model.lm_head.weight"] if config.text_config.model_type == "t5" else []
    ties = set(model.all_tied_weights_keys).difference(owned)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if name not in ties}
    return {name: shape for name, shape in shapes.items() if not name.endswith("position_ids")}


def spread(name, shape, config):
    """Mean and deviation of a tensor, with which activations stay in range and texts are not one token over and over."""
    if "norm" in name.lower() and name.endswith("weight"):
        return 1.0, 0.05
    if len(shape) < 2:
        return 0.0, 0.05
    if "embed_tokens" in name or "shared" in name:
        return 0.0, 0.05
    if any(part in name for part in ("embed", "query_tokens", "relative_attention_bias")):
        return 0.0, 0.5
    deviation = (3.0 if "lm_head" in name else 1.2) / math.sqrt(math.prod(shape[1:]))
    is_unscaled = name.endswith(("SelfAttention.q.weight", "EncDecAttention.q.weight"))
    return 0.0, deviation / math.sqrt(config.text_config.d_kv) if is_unscaled else deviation


def shards_of(tensors, value_bytes):
    shards, held = [{}], 0
    for name, shape in tensors.items():
        size = math.prod(shape) * value_bytes
        if held + size > SHARD_BYTES and shards[-1]:
            shards.append({})
            held = 0
        shards[-1][name] = shape
        held += size
    return shards


def header_of(shard, precision, value_bytes):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shard.items():
        size = math.prod(shape) * value_bytes
        header[name] = dict(dtype=PRECISIONS[precision], shape=shape, data_offsets=[offset, offset + size])
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def write_tensor(file, block, start, count, mean, deviation, dtype):
    while count > 0:
        part = block[start : start + count]
        values = (part * deviation + mean).to(dtype)
        file.write(values.view(torch.uint8).numpy().data)
        count -= len(part)
        start = 0


def write_weights(folder, tensors, config, precision):
    dtype = getattr(torch, precision)
    block = torch.randn(BLOCK_SIZE, generator=torch.Generator().manual_seed(0))
    shards = shards_of(tensors, dtype.itemsize)
    names, places = {}, {name: index for index, name in enumerate(tensors)}
    for number, shard in enumerate(shards, 1):
        path = folder / (f"model-{number:05}-of-{len(shards):05}.safetensors" if len(shards) > 1 else "model.safetensors")
        with path.open("wb") as file:
            file.write(header_of(shard, precision, dtype.itemsize))
            for name, shape in shard.items():
                start = places[name] * STEP_OF_STARTS % BLOCK_SIZE
                write_tensor(file, block, start, math.prod(shape), *spread(name, shape, config), dtype)
        names |= dict.fromkeys(shard, path.name)
    if len(shards) > 1:
        total = sum(math.prod(shape) for shape in tensors.values()) * dtype.itemsize
        index = dict(metadata=dict(total_size=total), weight_map=names)
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def make_blip2(folder, size, precision="float32"):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    architecture, config = configuration(size, save_words(folder, size))
    config.dtype = precision
    config.save_pretrained(folder)
    side = config.vision_config.image_size
    BlipImageProcessorPil(size=dict(height=side, width=side)).save_pretrained(folder)
    write_weights(folder, stored_tensors(architecture, config), config, precision)
