"""The three BLIP models, as transformers defines them, over one vision tower that they share while they learn."""

import re
from pathlib import Path

import torch
from torch import nn
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipForQuestionAnswering,
)

from drawing import SIDE
from scene_grammar import vocabulary

VOCABULARY = vocabulary()
TOKEN_IDS = {token: index for index, token in enumerate(VOCABULARY)}
PAD, CLS, SEP, DEC, ENC = (TOKEN_IDS[token] for token in ("[PAD]", "[CLS]", "[SEP]", "[DEC]", "[ENC]"))
FOLDER = Path(__file__).parent
WIDTH = 192
HEADS = 3
VISION_LAYERS = 6
PATCH_SIDE = 16
PATCHES = SIDE // PATCH_SIDE  # along each side of a picture


MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])
DEVIATION = torch.tensor([0.26862954, 0.26130258, 0.27577711])


def pixel_values(pixels):
    """Turns uint8 [images, height, width, 3] into pixel values as BLIP's image processor does."""
    values = (pixels.float() / 255 - MEAN.to(pixels.device)) / DEVIATION.to(pixels.device)
    return values.permute(0, 3, 1, 2)


def sine_positions():
    """Initial positions [1, 1 + patches, width]: sine and cosine of both axes. Training changes them."""
    rate = 1 / 100 ** (torch.arange(WIDTH // 4) / (WIDTH // 4))
    y, x = torch.meshgrid(torch.arange(PATCHES), torch.arange(PATCHES), indexing="ij")
    angles = [axis.flatten()[:, None] * rate for axis in (x, y)]
    patches = torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], 1)
    return 0.2 * torch.cat([torch.zeros(1, WIDTH), patches])[None]


def config(text_layers):
    return BlipConfig(
        vision_config=dict(
            hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=VISION_LAYERS, num_attention_heads=HEADS,
            image_size=SIDE, patch_size=PATCH_SIDE, initializer_range=0.02,
        ),
        text_config=dict(
            vocab_size=len(VOCABULARY), hidden_size=WIDTH, encoder_hidden_size=WIDTH, intermediate_size=4 * WIDTH,
            num_hidden_layers=text_layers, num_attention_heads=HEADS, max_position_embeddings=64,
            bos_token_id=DEC, eos_token_id=SEP, sep_token_id=SEP, pad_token_id=PAD,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        ),
        projection_dim=WIDTH, image_text_hidden_size=WIDTH, label_smoothing=0.0,
    )


def token_ids(text):
    """Splits at spaces and punctuation, which is all that WordPiece does here: every word of the grammar is a token."""
    return [TOKEN_IDS[word] for word in re.findall(r"\w+|[^\w\s]", text)]


class Family(nn.Module):
    def __init__(self):
        super().__init__()
        self.captioning = BlipForConditionalGeneration(config(3))
        self.answering = BlipForQuestionAnswering(config(2))
        self.retrieval = BlipForImageTextRetrieval(config(3))
        self.answering.vision_model = self.captioning.vision_model
        self.retrieval.vision_model = self.captioning.vision_model

    def losses(self, embeds, captions, questions, answers, true, false):
        """Losses by name over one batch: the embeddings of pictures, and one or several rows of token ids about each."""
        half = len(embeds) // 2  # Matching takes two rows for each picture, so it uses half of the pictures.
        matching, contrast = self.matching_loss(embeds[:half], true[:half], false[:half])
        return {
            "caption": self.caption_loss(repeated(embeds, captions), captions),
            "answer": self.answer_loss(repeated(embeds, questions), questions, answers),
            "matching": matching,
            "contrast": contrast,
        }

    def image_embeds(self, pixel_values):
        return self.captioning.vision_model(pixel_values).last_hidden_state

    def caption_loss(self, image_embeds, input_ids):
        """`input_ids` [rows, length]: [DEC] words [SEP], padded."""
        logits = self.captioning.text_decoder(input_ids, encoder_hidden_states=image_embeds).logits
        return next_token_loss(logits, input_ids)

    def answer_loss(self, image_embeds, question_ids, answer_ids):
        return next_token_loss(answer_logits(self.answering, image_embeds, question_ids, answer_ids), answer_ids)

    def matching_loss(self, image_embeds, true_ids, false_ids):
        """Losses of both heads: which of two captions is true (ITM), and which caption belongs to which picture (ITC)."""
        rows = torch.cat([true_ids, false_ids])
        mask = (rows != PAD).long()
        encoded = self.retrieval.text_encoder(
            rows, attention_mask=mask, encoder_hidden_states=torch.cat([image_embeds, image_embeds])
        )
        logits = self.retrieval.itm_head(encoded.last_hidden_state[:, 0])
        labels = torch.arange(len(rows), device=rows.device).lt(len(true_ids)).long()  # class 1 is a match
        matching = nn.functional.cross_entropy(logits, labels)
        alone = self.retrieval.text_encoder(true_ids, attention_mask=mask[: len(true_ids)]).last_hidden_state[:, 0]
        text = nn.functional.normalize(self.retrieval.text_proj(alone), dim=-1)
        image = nn.functional.normalize(self.retrieval.vision_proj(image_embeds[:, 0]), dim=-1)
        similarity = image @ text.T / 0.07
        own = torch.arange(len(similarity), device=similarity.device)
        contrast = (nn.functional.cross_entropy(similarity, own) + nn.functional.cross_entropy(similarity.T, own)) / 2
        return matching, contrast


def answer_logits(answering, image_embeds, question_ids, answer_ids):
    mask = (question_ids != PAD).long()
    question = answering.text_encoder(question_ids, attention_mask=mask, encoder_hidden_states=image_embeds)
    return answering.text_decoder(
        answer_ids, encoder_hidden_states=question.last_hidden_state, encoder_attention_mask=mask
    ).logits


def repeated(image_embeds, rows):
    """Repeats each picture for each row about it."""
    return image_embeds.repeat_interleave(len(rows) // len(image_embeds), 0)


def trained_family(path):
    """The family of models in the state that train.py stored."""
    stored = torch.load(path, map_location="cpu")["module"]
    family = Family()
    family.load_state_dict({name.removeprefix("family."): value for name, value in stored.items() if name.startswith("family.")})
    return family


def next_token_loss(logits, ids):
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), ignore_index=PAD)
