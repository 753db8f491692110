import { randomInt } from 'node:crypto';
import type { BlipCheckpoint } from '../checkpoint/checkpoint.ts';
import { HandlerError, toHandlerError } from '../protocol/errors.ts';
import type { Batcher, RowGroup } from './batcher.ts';
import type { GeneratedSequence } from './generation-model.ts';
import { type GenerationSettings, newTokenLimit } from './generation-settings.ts';
import { requireModelSize } from './image-resizer.ts';
import { attempt, type Failure, isFailure, isSuccess } from './outcome.ts';
import { noTimes, recordSlowest, type StageTimes, type TaskContext } from './task.ts';
import { encoderTokens, textTokens } from './text-tokens.ts';

/** One text that is asked for: a caption or an answer. */
export interface GenerationItem {
  /** URL, `data:` URI or base64 of the image. Items with equal sources share its pixels. */
  readonly source: string;
  /** What a caption continues, empty for nothing; or the question. */
  readonly text: string;
}

export interface Generated {
  /** `num_return_sequences` texts, best first; captions start with the prompt. */
  readonly texts: readonly string[];
  readonly sequences: readonly GeneratedSequence[];
}

export interface GenerationAnswer {
  /** In the order of the items. */
  readonly outcomes: readonly (Generated | Failure)[];
  readonly times: StageTimes;
}

/** What generating for an item needs. */
export interface ItemContext extends TaskContext {
  readonly checkpoint: BlipCheckpoint;
  readonly batcher: Batcher;
}

type SeededSettings = GenerationSettings & { readonly seed: number };

/** Generates a text for every item; one that fails leaves the others alone. */
export async function generateForItems(
  items: readonly GenerationItem[],
  generation: GenerationSettings,
  context: ItemContext,
): Promise<GenerationAnswer> {
  const seed = generation.seed ?? randomInt(2 ** 32);
  const times = noTimes();
  const outcomes: (Generated | Failure)[] = [];
  await Promise.all(
    [...itemsBySource(items)].map(async ([source, own]) => {
      const texts = own.map(({ text }) => text);
      const generated = await generateForImage(source, texts, { ...generation, seed }, context, times);
      for (const [position, { index }] of own.entries())
        outcomes[index] = generated[position] ?? { error: toHandlerError(undefined) };
    }),
  );
  return { outcomes, times };
}

/** Items about the same image, with their places in the request. */
function itemsBySource(
  items: readonly GenerationItem[],
): ReadonlyMap<string, readonly { text: string; index: number }[]> {
  const groups = new Map<string, { text: string; index: number }[]>();
  for (const [index, { source, text }] of items.entries()) {
    const group = groups.get(source) ?? [];
    group.push({ text, index });
    groups.set(source, group);
  }
  return groups;
}

/** All texts about one image. */
async function generateForImage(
  source: string,
  texts: readonly string[],
  generation: SeededSettings,
  context: ItemContext,
  times: StageTimes,
): Promise<readonly (Generated | Failure)[]> {
  const readRow = context.checkpoint.task === 'question-answering' ? questionRow : promptRow;
  const rows = texts.map((text) => attempt(() => readRow(text, generation, context)));
  const valid = rows.filter(isSuccess);
  try {
    const generated = valid.length === 0 ? [] : await generateRows(source, valid, generation, context, times);
    const remaining = generated.values();
    return rows.map((row) => (isFailure(row) ? row : (remaining.next().value ?? { error: toHandlerError(undefined) })));
  } catch (thrown) {
    const error = toHandlerError(thrown);
    return rows.map((row) => (isFailure(row) ? row : { error }));
  }
}

async function generateRows(
  source: string,
  rows: RowGroup['rows'],
  generation: GenerationSettings,
  context: ItemContext,
  times: StageTimes,
): Promise<readonly Generated[]> {
  const { checkpoint, tokenizer } = context;
  const loaded = await context.loadImage(source, context.imageOptions);
  // A checkpoint that does not resize takes images of its own size only: checked before one spoils a batch.
  requireModelSize(loaded.image, checkpoint.imageProcessor, checkpoint.config.vision.imageSize);
  const { maxNewTokens: _, minNewTokens: __, seed: ___, ...settings } = generation;
  const result = await context.batcher.submit({ image: loaded.image, rows, settings });
  recordSlowest(times, { ...loaded, ...result });
  return result.sequences.map((sequences) => ({
    texts: sequences.map(({ tokenIds }) => tokenizer.decode(tokenIds)),
    sequences,
  }));
}

/** [CLS] becomes [DEC] and the final [SEP] goes, as in `BlipForConditionalGeneration.generate`. */
function promptRow(prompt: string, generation: SeededSettings, context: ItemContext): RowGroup['rows'][number] {
  const { text } = context.checkpoint.config;
  const inputIds = [text.bosTokenId, ...textTokens(prompt, 'prompt', text, context.tokenizer).slice(1, -1)];
  return { inputIds, ...lengthLimits(inputIds.length, generation, context.checkpoint) };
}

/** An answer begins with [DEC] alone; the question goes to the encoder (`BlipForQuestionAnswering.generate`). */
function questionRow(question: string, generation: SeededSettings, context: ItemContext): RowGroup['rows'][number] {
  const { text } = context.checkpoint.config;
  const questionIds = encoderTokens(question, 'question', text, context.tokenizer);
  return { inputIds: [text.bosTokenId], questionIds, ...lengthLimits(1, generation, context.checkpoint) };
}

function lengthLimits(inputLength: number, generation: SeededSettings, checkpoint: BlipCheckpoint) {
  const { maxPositions } = checkpoint.config.text;
  const maxNewTokens = newTokenLimit(generation.maxNewTokens, inputLength);
  if (maxNewTokens < 1 || inputLength + maxNewTokens - 1 > maxPositions) {
    throw new HandlerError(
      'PROMPT_TOO_LONG',
      `Expected the prompt and the new tokens to fit ${maxPositions} positions, got ${inputLength} and ${maxNewTokens}.`,
    );
  }
  return { maxNewTokens, minNewTokens: newTokenLimit(generation.minNewTokens, inputLength), seed: generation.seed };
}
