import { randomInt } from 'node:crypto';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { HandlerError, toHandlerError } from '../protocol/errors.ts';
import type { Batcher, RowGroup } from './batcher.ts';
import type { GeneratedSequence } from './captioning-model.ts';
import { type GenerationSettings, newTokenLimit } from './generation-settings.ts';
import type { RgbImage } from './image-decode.ts';
import type { ImageOptions, LoadedImage } from './image-source.ts';
import type { Tokenizer } from './tokenizer.ts';

/** One caption that is asked for. */
export interface CaptionItem {
  /** URL, `data:` URI or base64 of the image. Items with equal sources share its pixels. */
  readonly source: string;
  /** What the caption continues; empty for nothing. */
  readonly prompt: string;
}

export interface Caption {
  /** `num_return_sequences` texts, best first; each starts with the prompt. */
  readonly texts: readonly string[];
  readonly sequences: readonly GeneratedSequence[];
}

export interface Failure {
  readonly error: HandlerError;
}

/** A caption, or why there is none. */
export type CaptionOutcome = Caption | Failure;

export function isFailure(outcome: object): outcome is Failure {
  return 'error' in outcome;
}

export function isSuccess<T extends object>(outcome: T | Failure): outcome is T {
  return !isFailure(outcome);
}

/** Where the time of a request went: for each stage, its slowest item. */
export interface StageTimes {
  fetchMs: number;
  decodeMs: number;
  queueMs: number;
  resizeMs: number;
  generateMs: number;
}

export interface CaptionAnswer {
  /** In the order of the items. */
  readonly outcomes: readonly CaptionOutcome[];
  readonly times: StageTimes;
}

/** What captioning an item needs. */
export interface ItemContext {
  readonly checkpoint: Checkpoint;
  readonly tokenizer: Tokenizer;
  readonly loadImage: (source: string, options: ImageOptions) => Promise<LoadedImage>;
  readonly batcher: Batcher;
  readonly imageOptions: ImageOptions;
}

/** Captions every item; one that fails leaves the others alone. */
export async function captionItems(
  items: readonly CaptionItem[],
  generation: GenerationSettings,
  context: ItemContext,
): Promise<CaptionAnswer> {
  const seed = generation.seed ?? randomInt(2 ** 32);
  const times: StageTimes = { fetchMs: 0, decodeMs: 0, queueMs: 0, resizeMs: 0, generateMs: 0 };
  const outcomes: CaptionOutcome[] = [];
  await Promise.all(
    [...itemsBySource(items)].map(async ([source, own]) => {
      const prompts = own.map(({ prompt }) => prompt);
      const answers = await captionImage(source, prompts, { ...generation, seed }, context, times);
      for (const [position, { index }] of own.entries())
        outcomes[index] = answers[position] ?? { error: toHandlerError(undefined) };
    }),
  );
  return { outcomes, times };
}

/** Items about the same image, with their places in the request. */
function itemsBySource(
  items: readonly CaptionItem[],
): ReadonlyMap<string, readonly { prompt: string; index: number }[]> {
  const groups = new Map<string, { prompt: string; index: number }[]>();
  for (const [index, { source, prompt }] of items.entries()) {
    const group = groups.get(source) ?? [];
    group.push({ prompt, index });
    groups.set(source, group);
  }
  return groups;
}

/** All prompts about one image. */
async function captionImage(
  source: string,
  prompts: readonly string[],
  generation: GenerationSettings & { readonly seed: number },
  context: ItemContext,
  times: StageTimes,
): Promise<readonly CaptionOutcome[]> {
  const rows = prompts.map((prompt) => attempt(() => promptRow(prompt, generation, context)));
  const valid = rows.filter(isSuccess);
  try {
    const captions = valid.length === 0 ? [] : await captionRows(source, valid, generation, context, times);
    const remaining = captions.values();
    return rows.map((row) => (isFailure(row) ? row : (remaining.next().value ?? { error: toHandlerError(undefined) })));
  } catch (thrown) {
    const error = toHandlerError(thrown);
    return rows.map((row) => (isFailure(row) ? row : { error }));
  }
}

async function captionRows(
  source: string,
  rows: RowGroup['rows'],
  generation: GenerationSettings,
  context: ItemContext,
  times: StageTimes,
): Promise<readonly Caption[]> {
  const loaded = await context.loadImage(source, context.imageOptions);
  requireModelSize(loaded.image, context.checkpoint);
  const { maxNewTokens: _, minNewTokens: __, seed: ___, ...settings } = generation;
  const result = await context.batcher.submit({ image: loaded.image, rows, settings });
  recordSlowest(times, { ...loaded, ...result });
  return result.sequences.map((sequences) => toCaption(sequences, context.tokenizer));
}

/** A checkpoint that does not resize takes images of its own size only. Checked here, before one spoils a batch. */
function requireModelSize({ width, height }: RgbImage, { config, imageProcessor }: Checkpoint): void {
  const { imageSize } = config.vision;
  if (imageProcessor.resize !== undefined || (width === imageSize && height === imageSize)) return;
  throw new HandlerError(
    'IMAGE_UNSUPPORTED',
    `Expected an image of ${imageSize} x ${imageSize}, because this checkpoint does not resize, got ${width} x ${height}.`,
  );
}

function attempt<T>(make: () => T): T | Failure {
  try {
    return make();
  } catch (thrown) {
    return { error: toHandlerError(thrown) };
  }
}

/** Longer words are one unknown token (WordPiece's `max_input_chars_per_word`). */
const MAX_CHARACTERS_PER_TOKEN = 100;

/** Splitting megabytes into tokens only to refuse them would hold up every other request. */
function requireCharacters(prompt: string, maxCharacters: number): void {
  if (prompt.length <= maxCharacters) return;
  throw new HandlerError(
    'PROMPT_TOO_LONG',
    `Expected a prompt of at most ${maxCharacters} characters, got ${prompt.length}.`,
  );
}

/** [CLS] becomes [DEC] and the final [SEP] goes, as in `BlipForConditionalGeneration.generate`. */
function promptRow(
  prompt: string,
  generation: GenerationSettings & { readonly seed: number },
  { checkpoint, tokenizer }: ItemContext,
): RowGroup['rows'][number] {
  const { bosTokenId, maxPositions, vocabularySize } = checkpoint.config.text;
  requireCharacters(prompt, maxPositions * MAX_CHARACTERS_PER_TOKEN);
  const inputIds = [bosTokenId, ...tokenizer.encode(prompt).slice(1, -1)];
  const unknown = inputIds.find((id) => id >= vocabularySize);
  if (unknown !== undefined) {
    throw new HandlerError(
      'INTERNAL',
      `Expected the tokenizer to know ${vocabularySize} tokens as the model does, got token ${unknown}.`,
    );
  }
  const maxNewTokens = newTokenLimit(generation.maxNewTokens, inputIds.length);
  if (maxNewTokens < 1 || inputIds.length + maxNewTokens - 1 > maxPositions) {
    throw new HandlerError(
      'PROMPT_TOO_LONG',
      `Expected the prompt and the new tokens to fit ${maxPositions} positions, got ${inputIds.length} and ${maxNewTokens}.`,
    );
  }
  return {
    inputIds,
    maxNewTokens,
    minNewTokens: newTokenLimit(generation.minNewTokens, inputIds.length),
    seed: generation.seed,
  };
}

function toCaption(sequences: readonly GeneratedSequence[], tokenizer: Tokenizer): Caption {
  return { texts: sequences.map(({ tokenIds }) => tokenizer.decode(tokenIds)), sequences };
}

function recordSlowest(times: StageTimes, measured: StageTimes): void {
  times.fetchMs = Math.max(times.fetchMs, measured.fetchMs);
  times.decodeMs = Math.max(times.decodeMs, measured.decodeMs);
  times.queueMs = Math.max(times.queueMs, measured.queueMs);
  times.resizeMs = Math.max(times.resizeMs, measured.resizeMs);
  times.generateMs = Math.max(times.generateMs, measured.generateMs);
}
