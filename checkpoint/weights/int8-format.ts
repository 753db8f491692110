import { isJsonObject, type JsonSection } from '../files/json-file.ts';
import { inconsistent } from '../files/json-section.ts';
import type { TensorRegion } from './safetensors.ts';
import type { Weights } from './weights.ts';

/**
 * How an int8 checkpoint differs from the one it was made of. See docs/decisions/0020-int8.md.
 *
 * Each matrix `X.weight` [out, in] of a layer is two tensors: `X.weight_quantized` I8 [parts, in, out / parts], and
 * `X.weight_scale` F32 [out], so that weight[o, i] = quantized[part, i, o within the part] * scale[o]. The matrices lie
 * transposed because onnxruntime's integer products want them so. All else is as it was.
 */

/**
 * What config.json says as `quantization_config.format`. Without a `quant_method` transformers refuses the checkpoint; one
 * that it does not know it would skip, and begin the layers with random numbers.
 */
export const FORMAT = 'blip-handler-int8';

/**
 * The largest quantized weight; the smallest is its negative. Processors without VNNI add up pairs of products in 16
 * bits, where two of 255 * 127 do not fit and are cut off in silence; two of 255 * 64 do.
 */
export const MAX_QUANTIZED = 64;

/** The matrices that the layers of all towers multiply by. Embeddings, heads and projections stay as they are. */
export function isQuantizable({ dtype, shape }: TensorRegion, name: string): boolean {
  const isFloat = dtype === 'F32' || dtype === 'F16' || dtype === 'BF16';
  return isFloat && shape.length === 2 && /\.layers?\.\d+\..*\.weight$/.test(name);
}

/** What a Linear has in place of `weight`. */
export const quantizedNames = { values: 'weight_quantized', scale: 'weight_scale' } as const;

/** Whether a matrix of these weights is int8. */
export function hasQuantizedWeights({ regions }: Weights): boolean {
  return [...regions.keys()].some((name) => name.endsWith(`.${quantizedNames.values}`));
}

/** BLIP's vision model keeps query, key and value in one matrix, and the graph multiplies by each. */
export function partCount(module: string): number {
  return module.endsWith('.qkv') ? 3 : 1;
}

/**
 * Whether the weights beside a config.json are int8.
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID` when they are quantized in another way.
 */
export function readIsInt8(file: JsonSection): boolean {
  const config = file.values['quantization_config'];
  if (config === undefined || config === null) return false;
  if (isJsonObject(config) && config['format'] === FORMAT) return true;
  const expected = `quantization_config.format to be ${FORMAT}, or no quantization_config`;
  throw inconsistent(file, expected, JSON.stringify(config).slice(0, 80));
}
