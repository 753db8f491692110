import type { ImageSettings } from '../../models/towers/vision-states.ts';
import { HandlerError, toHandlerError } from '../../protocol/errors.ts';
import { releaseImages } from '../images/held-images.ts';
import type { ImageSource, LoadedImage } from '../images/image-source.ts';
import type { StageTimes } from '../infer-request.ts';
import type { Sequence } from '../sessions/row-batch.ts';
import { watchRun } from '../stages.ts';
import { readInTurns } from '../texts/text-tokens.ts';
import type { Arrival, Arrivals } from '../workers/arrivals.ts';
import type { Batcher, GroupResult } from '../workers/batcher.ts';
import { requireModelSize } from './model-size.ts';
import { atImage, attempt, type Failure, type ImagePlace, isFailure, isSuccess } from './outcome.ts';
import { noTimes, type RequestContext, recordSlowest } from './task.ts';

/** An image and a text: a caption or an answer is wanted of them. */
export interface Item {
  /** Items with equal sources share the pixels of the image. */
  readonly source: ImageSource;
  /** Which one of the request's images it is. */
  readonly place: ImagePlace;
  /** The prompt that a caption continues, or the question. */
  readonly text: string;
}

/** The result of an item. */
export interface AnsweredItem {
  /** The returned texts, best first; captions start with the prompt. */
  readonly texts: readonly string[];
  /** The tokens of each text. */
  readonly sequences: readonly Sequence[];
}

/**
 * One item for each image and its text. A single image serves all texts, and a single text all images.
 * @param textInput name of the texts, for the message.
 * @throws HandlerError `INVALID_INPUT` when there are neither as many texts as images, nor one of either.
 */
export function pairItems(
  sources: readonly ImageSource[],
  texts: readonly string[],
  textInput: string,
): readonly Item[] {
  const count = Math.max(sources.length, texts.length);
  if (![1, count].includes(sources.length) || ![1, count].includes(texts.length)) {
    throw new HandlerError(
      'INVALID_INPUT',
      `Expected ${textInput} for each of ${sources.length} images, or one for all, got ${texts.length}.`,
    );
  }
  const at = <T>(values: readonly T[], index: number) => values[values.length === 1 ? 0 : index];
  return Array.from({ length: count }, (_, index) => ({
    source: at(sources, index) ?? '',
    place: { index, count: sources.length },
    text: at(texts, index) ?? '',
  }));
}

/** How the items of one request are computed: text → row → worker → result → texts. */
export interface ItemWork<Row extends object, Settings, Result> {
  /** @throws HandlerError when the text has no place in the model. */
  readonly readRow: (text: string) => Row;
  readonly settings: Settings;
  readonly batcher: Batcher<Row, Settings, Result>;
  readonly readResult: (result: Result) => AnsweredItem;
  /** The most tokens that rows make the model compute, by which clients take turns. */
  readonly workOf: (rows: readonly Row[]) => number;
}

/** The answers of one request. */
export interface ItemAnswers {
  /** In the order of the items. */
  readonly outcomes: readonly (AnsweredItem | Failure)[];
  readonly times: StageTimes;
}

/** Answers every item. An item that fails leaves the others alone. */
export async function answerItems<Row extends object, Settings, Result>(
  items: readonly Item[],
  checkpoint: ImageSettings,
  work: ItemWork<Row, Settings, Result>,
  context: RequestContext,
): Promise<ItemAnswers> {
  const times = noTimes();
  const rowOfText = await readRows(items, work.readRow, context.signal);
  const outcomes: (AnsweredItem | Failure)[] = [];
  const request = { checkpoint, work, context, times, arrivals: work.batcher.expect() };
  await Promise.all(
    [...itemsBySource(items)].map(async ([source, itemsOfSource]) => {
      const rows = itemsOfSource.flatMap(({ text }) => rowOfText.get(text) ?? []);
      const answers = await answerRows(rows, (valid) => computeRows(source, valid, request));
      for (const [position, { index, place }] of itemsOfSource.entries())
        outcomes[index] = atImage(answers[position] ?? { error: toHandlerError(undefined) }, place);
    }),
  );
  return { outcomes, times };
}

/** The row of each text. A text that is asked about many images is read once. */
async function readRows<Row extends object>(
  items: readonly Item[],
  readRow: (text: string) => Row,
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<string, Row | Failure>> {
  const texts = [...new Set(items.map(({ text }) => text))];
  const read = (text: string) => [text, attempt(() => readRow(text))] as const;
  return new Map(await readInTurns(texts, read, signal));
}

/** Groups the items by image, with their indices in the request. */
function itemsBySource(
  items: readonly Item[],
): ReadonlyMap<ImageSource, readonly (Item & { readonly index: number })[]> {
  const groups = new Map<ImageSource, (Item & { readonly index: number })[]>();
  for (const [index, item] of items.entries()) {
    const group = groups.get(item.source) ?? [];
    group.push({ ...item, index });
    groups.set(item.source, group);
  }
  return groups;
}

/** Computes the rows that could be read. Where that fails, all of them fail. */
async function answerRows<Row extends object>(
  rows: readonly (Row | Failure)[],
  compute: (valid: readonly Row[]) => Promise<readonly AnsweredItem[]>,
): Promise<readonly (AnsweredItem | Failure)[]> {
  const valid = rows.filter(isSuccess);
  try {
    const answers = (valid.length === 0 ? [] : await compute(valid)).values();
    return rows.map((row) => (isFailure(row) ? row : (answers.next().value ?? { error: toHandlerError(undefined) })));
  } catch (thrown) {
    const error = toHandlerError(thrown);
    return rows.map((row) => (isFailure(row) ? row : { error }));
  }
}

/** The parts of a request that all its images share. */
interface RequestParts<Row extends object, Settings, Result> {
  readonly checkpoint: ImageSettings;
  readonly work: ItemWork<Row, Settings, Result>;
  readonly context: RequestContext;
  readonly times: StageTimes;
  /** Its images that are loaded. */
  readonly arrivals: Arrivals;
}

/** Loads an image, and computes all rows about it. */
async function computeRows<Row extends object, Settings, Result>(
  source: ImageSource,
  rows: readonly Row[],
  request: RequestParts<Row, Settings, Result>,
): Promise<readonly AnsweredItem[]> {
  const { work, context, times } = request;
  const arrival = request.arrivals.add();
  try {
    const loaded = await context.loadImage(source, { ...context.imageOptions, onStep: arrival.enter });
    const result = await runRows(loaded, rows, request, arrival);
    recordSlowest(times, { ...loaded, ...result, queueMs: loaded.queueMs + result.queueMs });
    return result.results.map(work.readResult);
  } finally {
    arrival.end();
  }
}

/** Has the rows computed, and gives back the memory of the image whatever comes of it. */
async function runRows<Row extends object, Settings, Result>(
  { image }: LoadedImage,
  rows: readonly Row[],
  { checkpoint: { imageProcessor, config }, work, context, arrivals }: RequestParts<Row, Settings, Result>,
  arrival: Arrival,
): Promise<GroupResult<Result>> {
  const { settings, batcher, workOf } = work;
  const { signal, client, events } = context;
  try {
    // A checkpoint that does not resize takes images of its own size only. An image of another size would fail its batch.
    requireModelSize(image, imageProcessor, config.vision.imageSize);
    return await watchRun(events, rows.length, (computing) => {
      arrival.end(); // Before its group comes, which would wait for it.
      return batcher.submit({ image, rows, settings, client, work: workOf(rows), signal, computing, arrivals });
    });
  } finally {
    releaseImages([image]);
  }
}
