import { inconsistent, isJsonObject, type JsonSection } from '../json-file.ts';
import type { TensorRegion } from '../safetensors.ts';

/**
 * How an int8 checkpoint differs from the one it was made of. See docs/decisions/0020-int8.md.
 *
 * Each matrix `X.weight` [out, in] of a layer is two tensors: `X.weight_quantized` I8 [parts, in, out / parts], and
 * `X.weight_scale` F32 [out], so that weight[o, i] = quantized[part, i, o within the part] * scale[o]. The matrices lie
 * transposed because onnxruntime's integer products want them so. All else is as it was.
 */

/** What config.json says as `quantization_config.quant_method`. */
export const QUANT_METHOD = 'blip-handler-int8';

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
  const method = isJsonObject(config) ? config['quant_method'] : config;
  if (method === QUANT_METHOD) return true;
  throw inconsistent(
    file,
    `quantization_config.quant_method to be ${QUANT_METHOD}, or no quantization_config`,
    JSON.stringify(method) ?? 'none',
  );
}
