import { isJsonObject, type JsonSection } from '../files/json-file.ts';
import { inconsistent } from '../files/json-section.ts';
import type { TensorRegion } from './safetensors.ts';
import type { Weights } from './weights.ts';

/**
 * How an int8 checkpoint differs from its source: docs/decisions/0020-int8.md.
 *
 * Each matrix `X.weight` [out, in] of a layer is two tensors: `X.weight_quantized` I8 [parts, in, out / parts], and
 * `X.weight_scale` F32 [out], so that weight[o, i] = quantized[part, i, o within the part] * scale[o]. The matrices lie
 * transposed because onnxruntime's integer products need them so. Everything else stays.
 */

/**
 * The value of `quantization_config.format` in config.json. There is no `quant_method`, so that transformers refuses the
 * checkpoint. It would ignore a method that it does not know, and begin the layers with random numbers.
 */
export const FORMAT = 'blip-handler-int8';

/**
 * The largest quantized weight; the smallest is its negative. Processors without VNNI add pairs of products in 16 bits.
 * Two products of 255 * 127 do not fit and are cut off without an error; two of 255 * 64 fit.
 */
export const MAX_QUANTIZED = 64;

/** Whether a tensor is a matrix in a layer of any tower. Embeddings, heads and projections stay as they are. */
export function isQuantizable({ dtype, shape }: TensorRegion, name: string): boolean {
  const isFloat = dtype === 'F32' || dtype === 'F16' || dtype === 'BF16';
  return isFloat && shape.length === 2 && /\.layers?\.\d+\..*\.weight$/.test(name);
}

/** The tensors of a Linear in place of `weight`. */
export const quantizedNames = { values: 'weight_quantized', scale: 'weight_scale' } as const;

/** Whether a matrix of these weights is int8. */
export function hasQuantizedWeights({ regions }: Weights): boolean {
  return [...regions.keys()].some((name) => name.endsWith(`.${quantizedNames.values}`));
}

/** The number of matrices in one tensor: BLIP's vision model keeps query, key and value together. */
export function partCount(module: string): number {
  return module.endsWith('.qkv') ? 3 : 1;
}

/**
 * Reads whether the weights beside a config.json are int8.
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID` when they are quantized in another way.
 */
export function readIsInt8(file: JsonSection): boolean {
  const config = file.values['quantization_config'];
  if (config === undefined || config === null) return false;
  if (isJsonObject(config) && config['format'] === FORMAT) return true;
  const expected = `quantization_config.format to be ${FORMAT}, or no quantization_config`;
  throw inconsistent(file, expected, JSON.stringify(config).slice(0, 80));
}
