"""Gives the patches of the shipped vision tower their places again, before train_places.py trains it on.

The towers of the first recipe lost positions: the position embedding has a standard deviation of 0.7, the vectors that the
layers pass on have one of 27 after the first layer and of 144 after the last, and of the output a linear probe reads the place of
a patch with an error of 17 % of the side (chance 25 %). Fine-tuning brings them back slowly. So the places are written where
they disturb nothing: into the few directions in which the outputs of patches differ least, which no layer reads from then on,
so that the tower computes what it did before. The first cross-attention of the Q-Former begins by looking at its own cell.
"""

import random

import numpy
import torch

import drawing
import model as models
import scene_grammar as grammar

WAVES = 4  # cosines of each axis
AMPLITUDE = 40.0  # the outputs differ by a standard deviation of about 10 in the directions that are taken
PICTURES = 200


def waves(along):
    """The places of `along` squares of each side as vectors [squares, 2 * waves]: cosines of x and of y, of equal lengths."""
    centres = (torch.arange(along) + 0.5) / along
    axis = torch.cos(torch.pi * centres[:, None] * torch.arange(1, WAVES + 1))
    axis = axis * 2 ** 0.5 / axis.norm(dim=1, keepdim=True)
    y, x = torch.meshgrid(torch.arange(along), torch.arange(along), indexing="ij")
    return torch.cat([axis[x.flatten()], axis[y.flatten()]], 1)


def some_pictures():
    chance, sprites = random.Random("keep places"), drawing.Sprites.training()
    return torch.from_numpy(numpy.stack([
        numpy.asarray(drawing.draw(grammar.sample_scene(chance), sprites, chance)) for _ in range(PICTURES)
    ]))


def quiet_directions(tower, values):
    """Directions [width, 2 * waves] in which the last layer's patches differ least, without the mean, which no norm passes on."""
    last = tower(values, output_hidden_states=True).hidden_states[-1][:, 1:].flatten(0, 1)
    mean = torch.ones(models.WIDTH, 1) / models.WIDTH ** 0.5
    deaf = torch.eye(models.WIDTH) - mean @ mean.T
    variances = deaf @ torch.cov(last.T) @ deaf + 1e9 * mean @ mean.T
    return torch.linalg.eigh(variances)[1][:, : 2 * WAVES]


def blind(norm, linear, directions, normed):
    """A layer no longer reads the directions: it takes their mean over `normed` [vectors, width] instead."""
    seen = norm.weight[:, None] * directions
    unread = linear.weight @ seen @ torch.linalg.pinv(seen)
    linear.bias += unread @ normed.mean(0)
    linear.weight -= unread


def normed_inputs(tower, values):
    """What the norms before the attention and before the feed-forward part of each layer give: by norm, [vectors, width]."""
    seen, hooks = {}, []
    for layer in tower.encoder.layers:
        for norm in (layer.layer_norm1, layer.layer_norm2):
            hooks.append(norm.register_forward_hook(lambda norm, _, output: seen.__setitem__(norm, output.flatten(0, 1))))
    tower(values)
    for hook in hooks:
        hook.remove()
    return seen


@torch.no_grad()
def keep_places(model):
    """Changes a new BLIP-2 of blip2.py, whose tower has the shipped weights."""
    tower, values = model.vision_model, models.pixel_values(some_pictures())
    directions, normed = quiet_directions(tower, values), normed_inputs(tower, values)
    for layer in tower.encoder.layers:
        blind(layer.layer_norm1, layer.self_attn.qkv, directions, normed[layer.layer_norm1])
        blind(layer.layer_norm2, layer.mlp.fc1, directions, normed[layer.layer_norm2])
    tower.embeddings.position_embedding[0, 1:] += AMPLITUDE * waves(models.PATCHES) @ directions.T
    look_at_cells(model, tower(values).last_hidden_state[:, 1:], directions)


def look_at_cells(model, patches, directions):
    """Each query begins as the place of its cell, and the keys of the first cross-attention as the places of patches."""
    along = int(model.query_tokens.shape[1] ** 0.5)
    model.query_tokens.copy_(3 * waves(along) @ directions.T + 0.3 * torch.randn_like(model.query_tokens))
    inputs = torch.cat([patches.flatten(0, 1), torch.ones(patches.shape[0] * patches.shape[1], 1)], 1)
    places = waves(models.PATCHES).repeat(len(patches), 1)
    read = torch.linalg.solve(inputs.T @ inputs + 1e-2 * torch.eye(inputs.shape[1]), inputs.T @ places).T
    attention = model.qformer.encoder.layer[0].crossattention.attention
    for head in range(models.HEADS):
        rows = slice(head * models.WIDTH // models.HEADS, head * models.WIDTH // models.HEADS + 2 * WAVES)
        attention.query.weight[rows] = 2 * directions.T
        attention.key.weight[rows], attention.key.bias[rows] = read[:, :-1], read[:, -1]
