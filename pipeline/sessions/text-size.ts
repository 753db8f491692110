import type { TextConfig } from '../../checkpoint/config/blip-config.ts';
import type { Blip2Config } from '../../checkpoint/config/blip2-config.ts';

/** The sizes of a model that writes texts, as far as memory and time depend on them. */
export interface TextSize {
  readonly layerCount: number;
  /** Numbers in the keys of one token in one layer; values have as many. */
  readonly keyValueWidth: number;
  readonly vocabularySize: number;
  /** Vectors of the image that an encoder reads beside a row's text. Those that a decoder reads count as its prompt. */
  readonly encodedImageTokens: number;
}

/** A text model that has positions for so many tokens. */
export interface BoundedText extends TextSize {
  readonly maxPositions: number;
}

export function blipTextSize({ layerCount, hiddenSize, vocabularySize, maxPositions }: TextConfig): BoundedText {
  return { layerCount, keyValueWidth: hiddenSize, vocabularySize, maxPositions, encodedImageTokens: 0 };
}

export function languageModelSize({ language, queryCount }: Blip2Config): BoundedText {
  const { kind, layerCount, keyValueHeadCount, headSize, vocabularySize, maxPositions } = language;
  const encodedImageTokens = kind === 't5' ? queryCount : 0;
  return { layerCount, keyValueWidth: keyValueHeadCount * headSize, vocabularySize, maxPositions, encodedImageTokens };
}
