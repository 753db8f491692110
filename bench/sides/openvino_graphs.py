"""BLIP and CLIP as OpenVINO runs them best: every attention is one operation, the keys and values of an image are
computed once, the decoder keeps its own keys and values as state and gives the next token.

The modules take their weights from transformers' models. Shapes: ids and next ids [rows, tokens], keys and values
[rows, heads, length, features of a head].
"""

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as op
from openvino._offline_transformations import apply_make_stateful_transformation
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.blip.modeling_blip import BlipAttention


def by_head(states, attention):
    return states.unflatten(-1, (attention.num_attention_heads, -1)).transpose(1, 2)


def attended(query, key, value):
    return scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def vision_attention(self, hidden_states, **_):
    query, key, value = self.qkv(hidden_states).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
    return self.projection(attended(query, key, value)), None


BlipAttention.forward = vision_attention  # transformers has no fused attention for BLIP.


def cross_keys_and_values(text_model, states):
    """Two tensors for each layer: what the text model's cross-attention needs of an image, or of a question."""
    attentions = [layer.crossattention.self for layer in text_model.encoder.layer]
    return [by_head(part(states), attention) for attention in attentions for part in (attention.key, attention.value)]


def embedded(text_model, ids, position):
    embeddings = text_model.embeddings
    positions = embeddings.position_embeddings.weight[position : position + ids.shape[1]]
    return embeddings.LayerNorm(embeddings.word_embeddings(ids) + positions)


def after_layer(layer, states, own, cross):
    """The states after a layer, whose own keys and values may have a past: `own` gives them for the present ones."""
    attention = layer.attention.self
    key, value = own(by_head(attention.key(states), attention), by_head(attention.value(states), attention))
    states = layer.attention.output(attended(by_head(attention.query(states), attention), key, value), states)
    attention = layer.crossattention.self
    states = layer.crossattention.output(attended(by_head(attention.query(states), attention), *cross), states)
    return layer.feed_forward_chunk(states)


class ImageKeysAndValues(torch.nn.Module):
    def __init__(self, vision_model, text_model):
        super().__init__()
        self.vision_model, self.text_model = vision_model, text_model

    def forward(self, pixels):
        return tuple(cross_keys_and_values(self.text_model, self.vision_model(pixel_values=pixels)[0]))


def text_states(text_model, ids, cross):
    states = embedded(text_model, ids, 0)
    for index, layer in enumerate(text_model.encoder.layer):
        states = after_layer(layer, states, lambda key, value: (key, value), cross[2 * index : 2 * index + 2])
    return states


class QuestionKeysAndValues(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.text_model, self.decoder = model.text_encoder, model.text_decoder.bert

    def forward(self, ids, *cross):
        return tuple(cross_keys_and_values(self.decoder, text_states(self.text_model, ids, cross)))


class MatchProbability(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.text_model, self.head = model.text_encoder, model.itm_head

    def forward(self, ids, *cross):
        return (self.head(text_states(self.text_model, ids, cross)[:, 0]).softmax(-1)[:, 1:],)


class NextToken(torch.nn.Module):
    """One token of greedy search that never ends. The cross keys and values come first, then those of the past."""

    def __init__(self, decoder, end_token_id):
        super().__init__()
        self.text_model, self.head = decoder.bert, decoder.cls
        never = torch.zeros(decoder.config.vocab_size)
        never[end_token_id] = -torch.inf
        self.register_buffer("never", never)

    def forward(self, ids, rows, *cross_and_past):
        layers = self.text_model.encoder.layer
        cross, past = cross_and_past[: 2 * len(layers)], cross_and_past[2 * len(layers) :]
        states, present = embedded(self.text_model, ids, past[0].shape[2]), []

        def with_past(key, value):
            first = len(present)
            both = zip(past[first : first + 2], (key, value))
            present.extend(torch.cat([old.index_select(0, rows), new], 2) for old, new in both)
            return present[first : first + 2]

        for index, layer in enumerate(layers):
            states = after_layer(layer, states, with_past, cross[2 * index : 2 * index + 2])
        return ((self.head(states) + self.never).argmax(-1), *present)


class ClipImage(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixels):
        return self.model.visual_projection(self.model.vision_model(pixel_values=pixels).pooler_output)


class ClipText(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids):
        return self.model.text_projection(self.model.text_model(input_ids=ids).pooler_output)


def converted(module, inputs, names, dynamic):
    """An OpenVINO model with named inputs; `dynamic` has the dimensions that requests set, for each input."""
    with torch.no_grad():
        model = ov.convert_model(module.eval(), example_input=inputs)
    for port, name, dimensions in zip(model.inputs, names, dynamic, strict=True):
        port.tensor.set_names({name})
        shape = port.partial_shape if port.partial_shape.rank.is_static else ov.PartialShape([-1] * len(dimensions))
        for index, dimension in enumerate(dimensions):
            shape[index] = dimension
        port.node.set_partial_shape(shape)
    for index, port in enumerate(model.outputs):
        port.tensor.set_names({f"output{index}"})
    model.validate_nodes_and_infer_types()
    return model


def keep_state(model, past_names):
    """Turns the past inputs and the outputs after the first into state, empty at first for as many rows as ids have."""
    outputs = [f"output{index + 1}" for index in range(len(past_names))]
    apply_make_stateful_transformation(model, dict(zip(past_names, outputs)))
    rows = op.gather(op.shape_of(model.input("ids")), op.constant([0], np.int64), op.constant(0, np.int64))
    for node in (node for node in model.get_ops() if node.get_type_name() == "ReadValue"):
        _, heads, _, features = node.get_output_partial_shape(0)
        rest = op.constant([heads.get_length(), 0, features.get_length()], np.int64)
        node.set_arguments([op.broadcast(op.constant(0, np.float32), op.concat([rows, rest], 0))])
    model.validate_nodes_and_infer_types()
    return model
