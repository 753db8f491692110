import type { GenerationRow, SharedSettings } from './generation-batch.ts';
import type { BoundedText, TextSize } from './text-size.ts';

/**
 * Bounds of one run of a graph that generates. A run cannot be stopped, so more work than this goes through several runs,
 * and a single row beyond the bounds is refused: docs/decisions/0031-work-has-bounds.md.
 */
export interface RunBounds {
  /** Memory of caches, scores and their copies, beside that of images. */
  readonly maxBytes: number;
  /** Tokens that the language model computes, or work that takes as long. */
  readonly maxTokens: number;
}

/** Rows are split into runs that write so many tokens: about the time of a batch of eight images. */
export const MAX_TOKENS_PER_RUN = 4_096;
/** Texts that are only read, with an image each, go through runs of so many tokens, in about that time. */
export const MAX_READ_TOKENS_PER_RUN = 8_192;
/** The longest texts of most beams: 32 beams of 512 tokens. */
export const MAX_TOKENS_PER_ROW = 16_384;
export const MAX_RUN_BYTES = 1_000_000_000;

/** A text that every model has room for, with beams as LAVIS has them. */
const USUAL_BEAMS = 5;
const USUAL_TOKENS = 192;

const BYTES = Float32Array.BYTES_PER_ELEMENT;
const INT64_BYTES = BigInt64Array.BYTES_PER_ELEMENT;
/** The cache of the last step, with the new token, and in its new order; and gaps, as every step needs more. Measured. */
const CACHE_COPIES = 4;
/** Logits, their logarithms, sums and best; sorted with their positions where all tokens can be drawn. Measured. */
const SCORE_COPIES = 4;
const SAMPLED_SCORE_COPIES = 18;
/** Numbers that a draw looks at in the time of a token of BLIP's text model. Measured. */
const DRAWN_NUMBERS_PER_TOKEN = 65_536;
/** Scores that are sorted in the time of such a token. Measured. */
const SORTED_SCORES_PER_TOKEN = 10_000;

/** Scores of attention beside their bias, and once more while they are computed. Measured: 7.3 GB for 12,000 tokens. */
const ENCODER_COPIES = 3;

/** The parts of rows and settings that work depends on. */
type Row = Pick<GenerationRow, 'inputIds' | 'questionIds' | 'maxNewTokens'>;

/** Rows that are computed together are padded to the longest. */
interface Lengths {
  readonly prompt: number;
  readonly question: number;
  readonly newTokens: number;
}

function lengthsOf(rows: readonly Row[]): Lengths {
  let [prompt, question, newTokens] = [0, 0, 0];
  for (const row of rows) {
    prompt = Math.max(prompt, row.inputIds.length);
    question = Math.max(question, row.questionIds?.length ?? 0);
    newTokens = Math.max(newTokens, row.maxNewTokens);
  }
  return { prompt, question, newTokens };
}

/** The texts that are generated for each row at a time: beams, or returned sequences. */
export function sequencesPerRow(settings: Pick<SharedSettings, 'num_beams' | 'num_return_sequences'>): number {
  return Math.max(settings.num_beams, settings.num_return_sequences);
}

/** The most bytes of a run where nobody set them: 1 GB, or what five beams of 192 tokens take in a larger model. */
export function usualRunBytes(text: TextSize): number {
  const perSequence = CACHE_COPIES * USUAL_TOKENS * keyValueBytes(text) + scoreBytes(text, false);
  return Math.max(MAX_RUN_BYTES, USUAL_BEAMS * perSequence);
}

/** The keys and values of one token. */
function keyValueBytes({ layerCount, keyValueWidth, numberBytes }: TextSize): number {
  return layerCount * 2 * keyValueWidth * numberBytes;
}

/** The scores of one step of a sequence. They are float32 in any precision. */
function scoreBytes({ vocabularySize }: TextSize, isSampled: boolean): number {
  return (isSampled ? SAMPLED_SCORE_COPIES : SCORE_COPIES) * vocabularySize * BYTES;
}

/** The memory of the sequences of rows that are computed together. */
export function bytesOf(rows: readonly Row[], settings: SharedSettings, text: TextSize): number {
  const { prompt, question, newTokens } = lengthsOf(rows);
  const keysAndValues = keyValueBytes(text);
  const encoded = question + text.encodedImageTokens;
  const sequences = rows.length * sequencesPerRow(settings);
  const cacheBytes =
    CACHE_COPIES * sequences * (prompt + newTokens) * keysAndValues +
    rows.length * (encoded * keysAndValues + encoderBytes(encoded, text));
  const perSequence = scoreBytes(text, settings.do_sample) + windowBytes(prompt + newTokens, settings);
  return cacheBytes + sequences * perSequence;
}

/** A layer's scores of attention, and the bias that is added to them. */
function encoderBytes(tokens: number, { encoderHeadCount, numberBytes }: TextSize): number {
  return ENCODER_COPIES * encoderHeadCount * tokens ** 2 * numberBytes;
}

/** The windows of tokens that `no_repeat_ngram_size` compares: numbers, their differences, and differences as numbers. */
function windowBytes(length: number, { no_repeat_ngram_size: size }: SharedSettings): number {
  return size === 0 ? 0 : Math.max(0, length - size + 1) * Math.max(0, size - 1) * 3 * INT64_BYTES;
}

/**
 * The tokens that rows make the model compute, at most, when they are computed together; those of a large model count as
 * the tokens of BLIP's text model that take as long.
 */
export function tokensOf(rows: readonly Row[], settings: SharedSettings, text: TextSize): number {
  const { prompt, question, newTokens } = lengthsOf(rows);
  const sequences = rows.length * sequencesPerRow(settings);
  const read = rows.length * (prompt + question + text.encodedImageTokens);
  const written = newTokens * Math.max(sequences, text.leastSequences);
  const drawn = newTokens * sequences * drawingTokens(settings, text);
  return Math.ceil(text.tokenCost * (read + written) + drawn);
}

/** The time to draw one token of a sequence, in tokens. */
function drawingTokens(settings: SharedSettings, { vocabularySize }: TextSize): number {
  if (!settings.do_sample) return 0;
  const kept = settings.top_k === 0 ? vocabularySize : Math.min(settings.top_k, vocabularySize);
  const sorting = kept / SORTED_SCORES_PER_TOKEN;
  if (settings.num_beams === 1) return sorting;
  // Two draws for each beam (candidatesPerBeam in models/generation/beam-search.ts), which look at all beams' scores.
  return sorting + (2 * settings.num_beams * kept) / DRAWN_NUMBERS_PER_TOKEN;
}

/**
 * Whether the model has positions for all tokens of rows that are computed together: each row goes on, unseen, until the
 * last is done, and the longest prompt may be that of another. The last new token is not read.
 */
function fitsPositions(rows: readonly Row[], { maxPositions }: BoundedText): boolean {
  const { prompt, newTokens } = lengthsOf(rows);
  return prompt + newTokens - 1 <= maxPositions;
}

/** Splits rows, in their order, into parts within the bounds, or of one row. */
export function splitRows<R extends Row>(
  rows: readonly R[],
  settings: SharedSettings,
  text: BoundedText,
  { maxBytes, maxTokens }: RunBounds,
): readonly (readonly R[])[] {
  const fits = (part: readonly R[]) =>
    fitsPositions(part, text) &&
    bytesOf(part, settings, text) <= maxBytes &&
    tokensOf(part, settings, text) <= maxTokens;
  if (fits(rows)) return [rows];
  const parts: R[][] = [];
  for (const row of rows) {
    const part = parts.at(-1);
    if (part !== undefined && fits([...part, row])) part.push(row);
    else parts.push([row]);
  }
  return parts;
}
