import type { TextConfig } from '../../checkpoint/config/blip-config.ts';
import type { Blip2Config, LanguageConfig } from '../../checkpoint/config/blip2-config.ts';
import type { Real } from '../../onnx/element-type.ts';

/** The sizes of a model that writes texts, as far as memory and time depend on them. */
export interface TextSize {
  readonly layerCount: number;
  /** Numbers in the keys of one token in one layer; values have as many. */
  readonly keyValueWidth: number;
  /** Bytes of each of them. */
  readonly numberBytes: number;
  readonly vocabularySize: number;
  /** Vectors of the image that an encoder reads beside a row's text. Those that a decoder reads count as its prompt. */
  readonly encodedImageTokens: number;
  /** Heads of such an encoder, which compare all its tokens with each other; 0 where their memory need not count. */
  readonly encoderHeadCount: number;
  /** The time of a token, in tokens of BLIP's text model. */
  readonly tokenCost: number;
  /** A step takes at least the time of so many sequences: a CPU waits for the weights, which all sequences share. */
  readonly leastSequences: number;
}

/** A text model that has positions for so many tokens. */
export interface BoundedText extends TextSize {
  readonly maxPositions: number;
}

/** Weights of a large language model that a token of it reads in the time of a token of BLIP's text model. */
const WEIGHTS_PER_TOKEN = 1_000_000_000;

/** Of OPT-2.7b in float32, a step took 167 ms for one sequence and 337 ms for five: docs/decisions/0039. */
const LEAST_SEQUENCES = 4;

const bytesOf = { float32: 4, float16: 2, bfloat16: 2 } as const;

export function blipTextSize(
  { layerCount, hiddenSize, vocabularySize, maxPositions }: TextConfig,
  precision: Real = 'float32',
): BoundedText {
  return {
    layerCount,
    keyValueWidth: hiddenSize,
    numberBytes: bytesOf[precision],
    vocabularySize,
    maxPositions,
    encodedImageTokens: 0,
    encoderHeadCount: 0,
    tokenCost: 1,
    leastSequences: 1,
  };
}

export function languageModelSize(
  { language, queryCount }: Pick<Blip2Config, 'language' | 'queryCount'>,
  precision: Real = 'float32',
): BoundedText {
  const { kind, layerCount, headCount, headSize, vocabularySize, maxPositions } = language;
  const tokenCost = tokenCostOf(language);
  return {
    layerCount,
    // LLaMA repeats the heads of keys and values that heads of queries share, before it keeps them.
    keyValueWidth: headCount * headSize,
    numberBytes: bytesOf[precision],
    vocabularySize,
    maxPositions,
    encodedImageTokens: kind === 't5' ? queryCount : 0,
    encoderHeadCount: kind === 't5' ? headCount : 0,
    tokenCost,
    leastSequences: tokenCost > 1 ? LEAST_SEQUENCES : 1,
  };
}

/** The time of a token, in tokens of BLIP's text model: 2.6 for OPT-2.7b, 6.6 for Vicuna-7b, 1 for any small model. */
export function tokenCostOf(language: LanguageConfig): number {
  return Math.max(1, weightsReadPerToken(language) / WEIGHTS_PER_TOKEN);
}

/** The weights of the decoder's matrices, and of the head. */
function weightsReadPerToken(language: LanguageConfig): number {
  const { hiddenSize, intermediateSize, layerCount, headCount, keyValueHeadCount, headSize, vocabularySize } = language;
  const attention = 2 * hiddenSize * (headCount + keyValueHeadCount) * headSize;
  const crossAttention = language.kind === 't5' ? 2 * hiddenSize * headCount * headSize : 0; // Query and output.
  const matrices = language.kind === 'llama' || (language.kind === 't5' && language.isGated) ? 3 : 2;
  const feedForward = matrices * hiddenSize * intermediateSize;
  return layerCount * (attention + crossAttention + feedForward) + vocabularySize * hiddenSize;
}
