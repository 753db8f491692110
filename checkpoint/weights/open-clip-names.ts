import { CheckpointError } from '../errors.ts';
import type { TensorRegion } from './safetensors.ts';

/** A tensor under the name that transformers gives it. */
export interface NamedRegion {
  readonly name: string;
  readonly region: TensorRegion;
}

const LAYER = 'encoder.layers';

/** Parts of a layer in open_clip (`ResidualAttentionBlock` of open_clip/transformer.py), each with transformers' name. */
const layerParts: readonly (readonly [original: RegExp, name: string])[] = [
  [/^ln_([12])\./, 'layer_norm$1.'],
  [/^attn\.out_proj\./, 'self_attn.out_proj.'],
  [/^mlp\.c_fc\./, 'mlp.fc1.'],
  [/^mlp\.c_proj\./, 'mlp.fc2.'],
];

/** Names outside of the layers. Text towers of `CustomTextCLIP` lie under `text`. */
const renames: readonly (readonly [original: RegExp, name: string])[] = [
  [/^visual\.class_embedding$/, 'vision_model.embeddings.class_embedding'],
  [/^visual\.positional_embedding$/, 'vision_model.embeddings.position_embedding.weight'],
  [/^visual\.conv1\./, 'vision_model.embeddings.patch_embedding.'],
  [/^visual\.ln_pre\./, 'vision_model.pre_layrnorm.'],
  [/^visual\.ln_post\./, 'vision_model.post_layernorm.'],
  [/^visual\.proj$/, 'visual_projection.transposed_weight'],
  [/^(?:text\.)?token_embedding\./, 'text_model.embeddings.token_embedding.'],
  [/^(?:text\.)?positional_embedding$/, 'text_model.embeddings.position_embedding.weight'],
  [/^(?:text\.)?ln_final\./, 'text_model.final_layer_norm.'],
  [/^(?:text\.)?text_projection$/, 'text_projection.transposed_weight'],
  [/^text\.text_projection\./, 'text_projection.'],
];

/** Query, key and value lie above each other in one matrix, and their biases in one vector. */
const joinedProjections = ['q_proj', 'k_proj', 'v_proj'] as const;

/**
 * The tensors that transformers has in place of one of open_clip (open_clip/model.py, `CLIP` and `CustomTextCLIP`). The
 * parts of joined projections are byte ranges of the tensor. `visual.proj` and `text_projection` are the transposed
 * weights of transformers' Linears, which `transposed_weight` says. Other names stay.
 * @throws CheckpointError `CHECKPOINT_TENSOR_MISMATCH` when joined projections cannot be divided by three.
 */
export function openClipRegions(name: string, region: TensorRegion): readonly NamedRegion[] {
  const inLayer = /^(visual|text)?\.?transformer\.resblocks\.(\d+)\.(.+)$/.exec(name);
  if (inLayer === null) return [{ name: renamed(name, renames), region: withoutAxisOfScale(name, region) }];
  const [, tower, layer = '', part = ''] = inLayer;
  const path = `${tower === 'visual' ? 'vision_model' : 'text_model'}.${LAYER}.${layer}`;
  const joined = /^attn\.in_proj_(weight|bias)$/.exec(part)?.[1];
  if (joined === undefined) return [{ name: `${path}.${renamed(part, layerParts)}`, region }];
  return joinedProjections.map((projection, index) => ({
    name: `${path}.self_attn.${projection}.${joined}`,
    region: thirdOf(region, index),
  }));
}

function renamed(name: string, table: typeof renames): string {
  const rename = table.find(([original]) => original.test(name));
  return rename === undefined ? name : name.replace(...rename);
}

/** Some rows of a tensor, under a name of their own. */
function thirdOf(region: TensorRegion, index: number): TensorRegion {
  const { name, path, shape, offsetBytes, lengthBytes } = region;
  const [rows = 0, ...width] = shape;
  const count = joinedProjections.length;
  if (rows % count !== 0) {
    throw new CheckpointError(
      'CHECKPOINT_TENSOR_MISMATCH',
      `${path}: tensor ${name}: expected rows that are a multiple of ${count}, got ${rows}.`,
    );
  }
  const [size, bytes] = [rows / count, lengthBytes / count];
  return {
    ...region,
    name: `${name}[${index * size}:${(index + 1) * size}]`,
    shape: [size, ...width],
    offsetBytes: offsetBytes + index * bytes,
    lengthBytes: bytes,
  };
}

/** `nonscalar_logit_scale` stores the one number as a vector. */
function withoutAxisOfScale(name: string, region: TensorRegion): TensorRegion {
  return name === 'logit_scale' && region.shape.length === 1 && region.shape[0] === 1
    ? { ...region, shape: [] }
    : region;
}
