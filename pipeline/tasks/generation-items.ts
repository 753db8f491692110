import { randomInt } from 'node:crypto';
import type { BlipCheckpoint } from '../../checkpoint/checkpoint.ts';
import type { TextConfig } from '../../checkpoint/config/blip-config.ts';
import { HandlerError, toHandlerError } from '../../protocol/errors.ts';
import { releaseImages } from '../images/byte-budget.ts';
import type { ImageSource, LoadedImage } from '../images/image-source.ts';
import type { GeneratedSequence } from '../sessions/generation-session.ts';
import { type GenerationSettings, newTokenLimit } from '../sessions/generation-settings.ts';
import { requireModelSize } from '../sessions/image-resizer.ts';
import { watchRun } from '../stages.ts';
import { encoderTokens, readInTurns, textTokens } from '../texts/text-tokens.ts';
import type { Batcher, GroupResult, RowGroup } from '../workers/batcher.ts';
import { attempt, type Failure, isFailure, isSuccess } from './outcome.ts';
import type { Preset } from './presets.ts';
import { noTimes, type RequestContext, recordSlowest, type StageTimes } from './task.ts';

/** One text that is asked for: a caption or an answer. */
export interface GenerationItem {
  /** Items with equal sources share the pixels of the image. */
  readonly source: ImageSource;
  /** What a caption continues, empty for nothing; or the question. */
  readonly text: string;
}

export interface Generated {
  /** `num_return_sequences` texts, best first; captions start with the prompt. */
  readonly texts: readonly string[];
  readonly sequences: readonly GeneratedSequence[];
}

interface GenerationAnswer {
  /** In the order of the items. */
  readonly outcomes: readonly (Generated | Failure)[];
  readonly times: StageTimes;
}

/** What generating for an item needs. */
interface ItemContext extends RequestContext {
  readonly checkpoint: BlipCheckpoint;
  readonly batcher: Batcher;
}

/** What holds for all items of a request. */
export interface ItemSettings {
  readonly generation: GenerationSettings;
  readonly questionStart: Preset['questionStart'];
  /** The only answers there are, with their tokens: [DEC], the answer and [SEP]. Absent where any may be given. */
  readonly candidates: { readonly texts: readonly string[]; readonly ids: readonly (readonly number[])[] } | undefined;
}

type SeededSettings = ItemSettings & { readonly seed: number };

/** Generates a text for every item; one that fails leaves the others alone. */
export async function generateForItems(
  items: readonly GenerationItem[],
  settings: ItemSettings,
  context: ItemContext,
): Promise<GenerationAnswer> {
  const seeded = { ...settings, seed: settings.generation.seed ?? randomInt(2 ** 32) };
  const times = noTimes();
  const rowOfText = await readRows(items, seeded, context);
  const outcomes: (Generated | Failure)[] = [];
  await Promise.all(
    [...itemsBySource(items)].map(async ([source, own]) => {
      const rows = own.flatMap(({ text }) => rowOfText.get(text) ?? []);
      const generated = await generateForImage(source, rows, seeded, context, times);
      for (const [position, { index }] of own.entries())
        outcomes[index] = generated[position] ?? { error: toHandlerError(undefined) };
    }),
  );
  return { outcomes, times };
}

type Row = RowGroup['rows'][number];

/** The row of each text that there is: one text may be asked about many images. */
async function readRows(
  items: readonly GenerationItem[],
  settings: SeededSettings,
  context: ItemContext,
): Promise<ReadonlyMap<string, Row | Failure>> {
  const texts = [...new Set(items.map(({ text }) => text))];
  const readRow = context.checkpoint.task === 'question-answering' ? questionRow : promptRow;
  const read = (text: string) => [text, attempt(() => readRow(text, settings, context))] as const;
  return new Map(await readInTurns(texts, read, context.signal));
}

/** Items about the same image, with their places in the request. */
function itemsBySource(
  items: readonly GenerationItem[],
): ReadonlyMap<ImageSource, readonly { text: string; index: number }[]> {
  const groups = new Map<ImageSource, { text: string; index: number }[]>();
  for (const [index, { source, text }] of items.entries()) {
    const group = groups.get(source) ?? [];
    group.push({ text, index });
    groups.set(source, group);
  }
  return groups;
}

/** All rows about one image. */
async function generateForImage(
  source: ImageSource,
  rows: readonly (Row | Failure)[],
  settings: SeededSettings,
  context: ItemContext,
  times: StageTimes,
): Promise<readonly (Generated | Failure)[]> {
  const valid = rows.filter(isSuccess);
  try {
    const generated = valid.length === 0 ? [] : await generateRows(source, valid, settings, context, times);
    const remaining = generated.values();
    return rows.map((row) => (isFailure(row) ? row : (remaining.next().value ?? { error: toHandlerError(undefined) })));
  } catch (thrown) {
    const error = toHandlerError(thrown);
    return rows.map((row) => (isFailure(row) ? row : { error }));
  }
}

async function generateRows(
  source: ImageSource,
  rows: RowGroup['rows'],
  settings: SeededSettings,
  context: ItemContext,
  times: StageTimes,
): Promise<readonly Generated[]> {
  const loaded = await context.loadImage(source, context.imageOptions);
  const result = await runRows(loaded, rows, settings, context);
  recordSlowest(times, { ...loaded, ...result, queueMs: loaded.queueMs + result.queueMs });
  const { candidates } = settings;
  return result.sequences.map((sequences) => ({
    texts: sequences.map(({ tokenIds, candidate }) =>
      candidate === undefined ? context.tokenizer.decode(tokenIds) : (candidates?.texts[candidate] ?? ''),
    ),
    sequences,
  }));
}

/** Has the rows computed, and gives back the memory of the image whatever comes of it. */
async function runRows(
  { image }: LoadedImage,
  rows: RowGroup['rows'],
  { generation, candidates }: SeededSettings,
  { checkpoint, batcher, signal, progress }: ItemContext,
): Promise<GroupResult> {
  const { maxNewTokens: _, minNewTokens: __, seed: ___, ...shared } = generation;
  const settings = candidates === undefined ? shared : { ...shared, candidateIds: candidates.ids };
  try {
    // A checkpoint that does not resize takes images of its own size only: checked before one spoils a batch.
    requireModelSize(image, checkpoint.imageProcessor, checkpoint.config.vision.imageSize);
    return await watchRun(progress, rows.length, (onComputing) =>
      batcher.submit({ image, rows, settings, signal, onComputing }),
    );
  } finally {
    releaseImages([image]);
  }
}

/** [CLS] becomes [DEC] and the final [SEP] goes, as in `BlipForConditionalGeneration.generate`. */
function promptRow(prompt: string, settings: SeededSettings, context: ItemContext): Row {
  const { text } = context.checkpoint.config;
  const inputIds = [text.bosTokenId, ...textTokens(prompt, 'prompt', text, context.tokenizer).slice(1, -1)];
  return { inputIds, ...lengthLimits(inputIds.length, settings, context.checkpoint) };
}

/** An answer begins with [DEC] alone; the question goes to the encoder (`BlipForQuestionAnswering.generate`). */
function questionRow(question: string, settings: SeededSettings, context: ItemContext): Row {
  const { text } = context.checkpoint.config;
  const [start = text.bosTokenId, ...rest] = encoderTokens(question, 'question', text, context.tokenizer);
  const questionIds = [settings.questionStart === '[ENC]' ? encTokenId(text) : start, ...rest];
  // Candidates are scored, not generated: no new tokens have to find a place.
  const limits =
    settings.candidates === undefined
      ? lengthLimits(1, settings, context.checkpoint)
      : { maxNewTokens: 1, minNewTokens: 0, seed: settings.seed };
  return { inputIds: [text.bosTokenId], questionIds, ...limits };
}

/** [ENC] was added to the vocabulary right after [DEC] (salesforce/BLIP, `init_tokenizer`). */
function encTokenId({ bosTokenId, vocabularySize }: TextConfig): number {
  if (bosTokenId + 1 < vocabularySize) return bosTokenId + 1;
  throw new HandlerError('INVALID_PARAMETER', 'Expected a checkpoint with the token [ENC] for this preset, got none.');
}

function lengthLimits(inputLength: number, { generation, seed }: SeededSettings, checkpoint: BlipCheckpoint) {
  const { maxPositions } = checkpoint.config.text;
  const maxNewTokens = newTokenLimit(generation.maxNewTokens, inputLength);
  if (maxNewTokens < 1 || inputLength + maxNewTokens - 1 > maxPositions) {
    throw new HandlerError(
      'PROMPT_TOO_LONG',
      `Expected the prompt and the new tokens to fit ${maxPositions} positions, got ${inputLength} and ${maxNewTokens}.`,
    );
  }
  return { maxNewTokens, minNewTokens: newTokenLimit(generation.minNewTokens, inputLength), seed };
}
