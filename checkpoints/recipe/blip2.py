"""The small BLIP-2, as transformers defines it: a vision tower as BLIP's, a Q-Former, an OPT, and its tokenizer."""

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models as pieces, pre_tokenizers, processors
from torch import nn
from transformers import Blip2Config, Blip2ForConditionalGeneration, GPT2TokenizerFast

import model as models
import scene_grammar as grammar
from clip import joined

SHIPPED = models.FOLDER.parent / "scenes-captioning"  # Question answering has another tower by now.
CELLS = 4  # along each side of a picture; each query answers for one cell
QUERIES = CELLS * CELLS
Q_FORMER_LAYERS, Q_FORMER_INTERMEDIATE = 3, 512
LANGUAGE_LAYERS, LANGUAGE_INTERMEDIATE = 4, 512
MAXIMUM_POSITIONS = 128  # of image vectors and tokens together
START, PAD, END, UNKNOWN, IMAGE = "<s>", "<pad>", "</s>", "<unk>", "<image>"
NEWLINE = "Ċ"  # the byte-level name of "\n", with which answers end
PROMPT_WORDS = "Question: Short answer: Answer: How What Which Is Are above below".split()


def words():
    """Every word of the texts as byte-level pieces: after a space, and alone, as the first of a text."""
    listed = {word for word in grammar.vocabulary() if word.isalpha() and len(word) > 1}
    listed |= {word.strip(":") for word in PROMPT_WORDS}
    first = {*grammar.NUMBERS, "an", "there", "how", "what", "which", "is", "are", "photo", "Question", "How", "What", "Which", "Is", "Are"}
    return [[*f"Ġ{word}"] for word in sorted(listed | {"a"})] + [[*word] for word in sorted(first)]


def merges():
    """Merges pairs until every word is one piece: the most frequent first, equals in alphabetical order (see clip.py)."""
    open_words, made = words(), []
    while any(len(word) > 1 for word in open_words):
        counts = {}
        for word in open_words:
            for pair in zip(word, word[1:]):
                counts[pair] = counts.get(pair, 0) + 1
        made.append(min(counts, key=lambda pair: (-counts[pair], pair)))
        open_words = [joined(word, made[-1]) for word in open_words]
    return made


def make_tokenizer():
    """A tokenizer of OPT's kind: byte-level pieces, </s> before each text, and <image> for the place of an image vector."""
    pairs = merges()
    listed = [START, PAD, END, UNKNOWN, *sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in pairs)]
    ids = {token: index for index, token in enumerate(dict.fromkeys(listed))}
    tokenizer = Tokenizer(pieces.BPE(vocab=ids, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END} $A", pair=f"{END} $A {END} $B", special_tokens=[(END, ids[END])]
    )
    return GPT2TokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, unk_token=END, pad_token=PAD, add_bos_token=True,
        additional_special_tokens=[IMAGE], model_max_length=MAXIMUM_POSITIONS - QUERIES,
    )


TOKENIZER = make_tokenizer()
PAD_ID, END_ID, NEWLINE_ID, IMAGE_ID = TOKENIZER.convert_tokens_to_ids([PAD, END, NEWLINE, IMAGE])


def token_ids(pieces):
    """Ids of texts that are one token each."""
    return [only for (only,) in TOKENIZER(list(pieces), add_special_tokens=False).input_ids]


def config():
    return Blip2Config(
        vision_config=dict(
            hidden_size=models.WIDTH, intermediate_size=4 * models.WIDTH, num_hidden_layers=models.VISION_LAYERS,
            num_attention_heads=models.HEADS, image_size=models.SIDE, patch_size=models.PATCH_SIDE, initializer_range=0.02,
            layer_norm_eps=1e-6,
        ),
        qformer_config=dict(
            vocab_size=len(TOKENIZER), hidden_size=models.WIDTH, num_hidden_layers=Q_FORMER_LAYERS,
            num_attention_heads=models.HEADS, intermediate_size=Q_FORMER_INTERMEDIATE, encoder_hidden_size=models.WIDTH,
            cross_attention_frequency=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        ),
        text_config=dict(
            model_type="opt", vocab_size=len(TOKENIZER), hidden_size=models.WIDTH, word_embed_proj_dim=models.WIDTH,
            num_hidden_layers=LANGUAGE_LAYERS, ffn_dim=LANGUAGE_INTERMEDIATE, num_attention_heads=models.HEADS,
            max_position_embeddings=MAXIMUM_POSITIONS, dropout=0.0, attention_dropout=0.0, layerdrop=0.0,
            bos_token_id=END_ID, eos_token_id=NEWLINE_ID, pad_token_id=PAD_ID,
        ),
        num_query_tokens=QUERIES, image_token_index=IMAGE_ID,
    )


def make_model():
    """A new BLIP-2, whose vision tower begins with the weights of the shipped captioning."""
    model = Blip2ForConditionalGeneration(config())
    stored = load_file(SHIPPED / "model.safetensors")
    tower = {name.removeprefix("vision_model."): value for name, value in stored.items() if name.startswith("vision_model.")}
    model.vision_model.load_state_dict({name: value.float() for name, value in tower.items()})
    look_for_likes(model.language_model.model.decoder)
    return model


@torch.no_grad()
def look_for_likes(decoder):
    """
    The first two layers of the OPT begin by attending from each token to the image vectors and tokens that resemble it: queries and
    keys are the same projection. With random ones it had not learned in 650 steps to look for what a question names.
    """
    nn.init.normal_(decoder.embed_tokens.weight, std=0.1)
    for layer in decoder.layers[:2]:
        for head in layer.self_attn.q_proj.weight.chunk(models.HEADS):
            nn.init.orthogonal_(head, 0.8)
        layer.self_attn.k_proj.weight.copy_(layer.self_attn.q_proj.weight)


def query_embeds(model, pictures):
    """Embeddings of the patches [pictures, 1 + patches, width] and of the queries [pictures, queries, width]."""
    patches = model.vision_model(models.pixel_values(pictures)).last_hidden_state
    queries = model.query_tokens.expand(len(pictures), -1, -1)
    return patches, model.qformer(query_embeds=queries, encoder_hidden_states=patches).last_hidden_state


def language_losses(model, vectors, ids, kinds):
    """
    Losses of the tokens of `ids` [rows, length] where `kinds` [rows, length] is not 0, after the image vectors `vectors` [rows,
    queries, width]; whether each would be said; and their kinds. Rows are padded on the right, which causal attention never sees.
    """
    embeds = torch.cat([vectors, model.language_model.get_input_embeddings()(ids)], 1)
    hidden = model.language_model.model.decoder(inputs_embeds=embeds).last_hidden_state
    wanted = kinds[:, 1:] > 0
    logits = model.language_model.lm_head(hidden[:, QUERIES:-1][wanted]).float()
    said = ids[:, 1:][wanted]
    return nn.functional.cross_entropy(logits, said, reduction="none"), (logits.argmax(-1) == said).float(), kinds[:, 1:][wanted]
