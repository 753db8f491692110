import { isJsonObject, type JsonSection } from '../files/json-file.ts';
import { inconsistent } from '../files/json-section.ts';
import type { TensorRegion } from './safetensors.ts';
import type { Weights } from './weights.ts';

/**
 * How an int8 checkpoint differs from its source: docs/decisions/0020-int8.md, and 0038-quantized-language-models.md.
 *
 * A matrix `X.weight` [out, in] of a layer is stored in one of three ways:
 *
 * - **products**, where there are many rows, as an image has: `X.weight_quantized` I8 [parts, in, out / parts] and
 *   `X.weight_scale` F32 [out], so that weight[o, i] = quantized[part, i, o within the part] * scale[o]. The matrices lie
 *   transposed because onnxruntime's integer products need them so. A calibrated checkpoint also has `X.input_scale` F32
 *   [] and `X.input_zero_point` U8 []: the rows that the matrix reads are rounded to (x / scale + zero point). Matrices
 *   that read the same rows have the same two numbers. Without them each row is rounded in steps of its own.
 * - **blocks**, where there are few rows, as a decoder has: `X.weight_blocks` U8 [out, blocks, block] and
 *   `X.weight_block_scale` F32 [out, blocks], so that weight[o, i] = (blocks[o, i] - 128) * scale[o, block of i].
 * - **blocks of 4 bits**, in the layers of a language model behind a Q-Former where they were asked for:
 *   `X.weight_blocks_4_bits` U8 [out, blocks, block / 2], whose bytes hold two weights, the first in the lower half;
 *   `X.weight_block_scale` F32 [out, blocks], and `X.weight_block_zero_point` U8 [out, ceil(blocks / 2)], two in a byte
 *   likewise, so that weight[o, i] = (half byte[o, i] - zero point[o, block of i]) * scale[o, block of i].
 *
 * The head of a language model gets blocks besides the embeddings that it may be tied to. Everything else stays.
 */

/**
 * The value of `quantization_config.format` in config.json. There is no `quant_method`, so that transformers refuses the
 * checkpoint. It would ignore a method that it does not know, and begin the layers with random numbers.
 */
export const FORMAT = 'blip-handler-int8';

/**
 * `quantization_config.version`. Version 1 had no such key: all its matrices are products without calibration. Version 2
 * had no blocks of 4 bits, and its blocks are as large as fit.
 */
export const VERSION = 3;

/**
 * The largest quantized weight of a product; the smallest is its negative. Processors without VNNI add pairs of products
 * in 16 bits. Two products of 255 * 127 do not fit and are cut off without an error; two of 255 * 64 fit.
 */
export const MAX_QUANTIZED = 64;

/**
 * The largest quantized weight of a block, counted from the middle. All kernels of blocks add their products in 32 bits:
 * those for processors without VNNI multiply the even and the odd bytes one after the other.
 */
export const MAX_IN_BLOCK = 127;
/** The byte of a block that stands for zero. */
export const MIDDLE_OF_BLOCK = 128;

/** The tensors of a Linear in place of `weight`. */
export const quantizedNames = {
  values: 'weight_quantized',
  scale: 'weight_scale',
  inputScale: 'input_scale',
  inputZeroPoint: 'input_zero_point',
  blocks: 'weight_blocks',
  blocks4Bits: 'weight_blocks_4_bits',
  blockScale: 'weight_block_scale',
  blockZeroPoint: 'weight_block_zero_point',
} as const;

/** `language blocks` are the layers of a language model behind a Q-Former, which may have 4 bits. */
export type Storage = 'products' | 'blocks' | 'language blocks';

/** The first that fits a matrix decides; where none does, the matrix stays as it is. */
const storages: readonly (readonly [name: RegExp, storage: Storage | undefined])[] = [
  // A table of T5 that is read row by row.
  [/\.relative_attention_bias\.weight$/, undefined],
  [/^language_model\..*\.(?:layers|block)\.\d+\..*\.weight$/, 'language blocks'],
  // Of a decoder's layers, the keys and values of cross-attention alone read many rows.
  [/^text_decoder\..*\.layers?\.\d+\.(?:.*\.)?crossattention\.self\.(?:key|value)\.weight$/, 'products'],
  [/^text_decoder\..*\.layers?\.\d+\..*\.weight$/, 'blocks'],
  [/^text_decoder\..*\.transform\.dense\.weight$/, 'blocks'],
  [/\.layers?\.\d+\..*\.weight$/, 'products'],
];

/** How a tensor is stored when it is a matrix in a layer of any tower; `undefined` where it stays as it is. */
export function storageOf({ dtype, shape }: TensorRegion, name: string): Storage | undefined {
  const isFloat = dtype === 'F32' || dtype === 'F16' || dtype === 'BF16';
  if (!isFloat || shape.length !== 2) return undefined;
  return storages.find(([pattern]) => pattern.test(name))?.[1];
}

/** A matrix at the end of a language model, and the embeddings whose matrix it is where a checkpoint stores only those. */
export interface LanguageModelHead {
  readonly module: string;
  /** The first of these that a checkpoint has. */
  readonly embeddings: readonly string[];
  /** The most of its inputs that have one scale. */
  readonly largestBlock: number;
}

/** The head of BLIP's decoder. */
export const languageModelHead = {
  module: 'text_decoder.cls.predictions.decoder',
  embeddings: ['text_decoder.bert.embeddings.word_embeddings.weight'],
  largestBlock: 256,
} as const satisfies LanguageModelHead;

/** T5's embeddings have any of three names; a file may have them under several. */
export const t5Embeddings: readonly string[] = [
  'language_model.shared.weight',
  'language_model.encoder.embed_tokens.weight',
  'language_model.decoder.embed_tokens.weight',
] as const;

/** The heads of all language models that are served. A checkpoint has at most one. */
export const languageModelHeads: readonly LanguageModelHead[] = [
  languageModelHead,
  {
    module: 'language_model.lm_head',
    embeddings: [
      'language_model.model.decoder.embed_tokens.weight',
      'language_model.model.embed_tokens.weight',
      ...t5Embeddings,
    ],
    largestBlock: 64,
  },
];

/** The runtime has products of these blocks; larger ones are faster. */
const blockSizes = [256, 128, 64, 32] as const;
const SMALLEST_BLOCK = 16;

/**
 * How many inputs have one scale: as many as possible that leave no block unfilled.
 * @param largest is one of the sizes.
 */
export function blockSizeOf(inputSize: number, largest: number = blockSizes[0]): number {
  return blockSizes.find((size) => size <= largest && inputSize % size === 0) ?? SMALLEST_BLOCK;
}

/** Whether the runtime has products of blocks of this size. */
export function isBlockSize(size: number): boolean {
  return size === SMALLEST_BLOCK || blockSizes.some((each) => each === size);
}

/** Whether a matrix of these weights is int8. */
export function hasQuantizedWeights({ regions }: Weights): boolean {
  const { values, blocks, blocks4Bits } = quantizedNames;
  const names = [values, blocks, blocks4Bits].map((name) => `.${name}`);
  return [...regions.keys()].some((region) => names.some((name) => region.endsWith(name)));
}

/** The number of matrices in one tensor: BLIP's vision model keeps query, key and value together. */
export function partCount(module: string): number {
  return module.endsWith('.qkv') ? 3 : 1;
}

/** The precision of the layers' matrices: `int4` where a language model's have 4 bits, and all others 8. */
export type QuantizedPrecision = 'int8' | 'int4';

/**
 * Reads what the weights beside a config.json are quantized to, if they are.
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID` when they are quantized in another way, or by a later version.
 */
export function readQuantizedPrecision(file: JsonSection): QuantizedPrecision | undefined {
  const config = file.values['quantization_config'];
  if (config === undefined || config === null) return undefined;
  if (!isJsonObject(config) || config['format'] !== FORMAT) {
    const expected = `quantization_config.format to be ${FORMAT}, or no quantization_config`;
    throw inconsistent(file, expected, JSON.stringify(config).slice(0, 80));
  }
  const { version = 1, language_model_bits: bits = 8 } = config;
  if (version !== 1 && version !== 2 && version !== VERSION) {
    const expected = `quantization_config.version to be at most ${VERSION} (quantize the checkpoint again, with this program)`;
    throw inconsistent(file, expected, JSON.stringify(version).slice(0, 80));
  }
  if (bits === 8) return 'int8';
  if (bits === 4) return 'int4';
  throw inconsistent(file, 'quantization_config.language_model_bits to be 8 or 4', JSON.stringify(bits).slice(0, 80));
}
