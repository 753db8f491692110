import type { ClipCheckpoint } from '../../checkpoint/checkpoint.ts';
import type { ClipTextConfig } from '../../checkpoint/config/clip-config.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { float32Tensor, type NamedTensor } from '../../protocol/named-tensor.ts';
import type { InputLists } from '../../protocol/schema.ts';
import type { ImageSource } from '../images/image-source.ts';
import type { ClipBatch, ClipResult, ClipText } from '../sessions/clip-session.ts';
import { watchRun } from '../stages.ts';
import { encoderTokens, readInTurns } from '../texts/text-tokens.ts';
import type { Tokenizer } from '../texts/tokenizer.ts';
import { createRunQueue, type RunQueue } from '../workers/run-queue.ts';
import type { WorkerPool } from '../workers/worker-pool.ts';
import { errorTensor, failuresOf, isSuccess, requireSomeSuccess, withErrors } from './outcome.ts';
import { loadImages, spread } from './request-images.ts';
import {
  contextUntil,
  noTimes,
  type RequestContext,
  recordSlowest,
  type Task,
  type TaskContext,
  type TensorAnswer,
} from './task.ts';

/** CLIP: embeddings of images and texts, and how well candidates fit queries. */
export function clipTask(
  checkpoint: ClipCheckpoint,
  pool: WorkerPool<ClipBatch, ClipResult>,
  context: TaskContext & { readonly maxBatchSize: number },
): Task {
  const queue = createRunQueue(pool);
  return (inputs, outputs) => {
    const request = readRequest(inputs);
    return {
      itemCount: request.sources.length + request.texts.length,
      run: (signal, progress) =>
        encode(request, outputs, checkpoint, { ...contextUntil(signal, context, progress), queue }),
    };
  };
}

interface ClipRequest {
  readonly sources: readonly ImageSource[];
  readonly texts: readonly string[];
  readonly normalize: boolean;
  /** Numbers of items: images first, then texts. */
  readonly queries: readonly number[];
  readonly candidates: readonly number[];
}

/** @throws HandlerError `INVALID_INPUT` when there is nothing to encode, no item of some number, or too many numbers. */
function readRequest(inputs: InputLists): ClipRequest {
  const sources = (inputs['img_url'] ?? []) as readonly ImageSource[]; // The schema let only these types through.
  const texts = (inputs['text'] ?? []) as readonly string[];
  const count = sources.length + texts.length;
  if (count === 0) throw new HandlerError('INVALID_INPUT', 'Expected img_url or text, got neither.');
  const items = (name: string, from: number, to: number) => {
    const given = inputs[name] as readonly number[] | undefined;
    if (given !== undefined && given.length > count) {
      const expected = `${name} to be at most as many as there are images and texts, ${count}`;
      throw new HandlerError('INVALID_INPUT', `Expected ${expected}, got ${given.length}.`);
    }
    const outside = given?.find((item) => item >= count);
    if (outside !== undefined)
      throw new HandlerError('INVALID_INPUT', `Expected ${name} to be below ${count}, got ${outside}.`);
    return given ?? Array.from({ length: to - from }, (_, index) => from + index);
  };
  return {
    sources,
    texts,
    normalize: inputs['normalize']?.[0] === true,
    queries: items('queries', 0, sources.length),
    candidates: items('candidates', sources.length, count),
  };
}

/** The token ids of a text, and where the token is that stands for it. */
function clipText(text: string, config: ClipTextConfig, tokenizer: Tokenizer): ClipText {
  const inputIds = encoderTokens(text, 'text', config, tokenizer);
  const { pooling } = config;
  const endTokenId = pooling === 'largest-id' ? Math.max(...inputIds) : pooling.eosTokenId;
  return { inputIds, endPosition: Math.max(0, inputIds.indexOf(endTokenId)) };
}

async function encode(
  request: ClipRequest,
  outputs: readonly string[],
  { config, imageProcessor }: ClipCheckpoint,
  context: RequestContext & { readonly maxBatchSize: number; readonly queue: RunQueue<ClipBatch, ClipResult> },
): Promise<TensorAnswer> {
  const { sources, normalize } = request;
  const readText = (text: string) => clipText(text, config.text, context.tokenizer);
  const texts = await readInTurns(request.texts, readText, context.signal);
  const times = noTimes();
  const loaded = await loadImages(sources, { imageProcessor, imageSize: config.vision.imageSize }, context, times);
  if (texts.length === 0) requireSomeSuccess(loaded);
  const succeeded = loaded.map(isSuccess);
  const ranking = rankingOf(request, succeeded);
  const batch = {
    images: loaded.filter(isSuccess),
    texts,
    itemsPerRun: context.maxBatchSize,
    ...(ranking === undefined ? {} : { ranking }),
  };
  const { result, queueMs } = await watchRun(context.progress, batch.images.length + texts.length, (onComputing) =>
    context.queue.run(batch, context.signal, onComputing),
  );
  recordSlowest(times, { ...result, queueMs });
  const { projectionSize } = config;
  const embeds = normalize ? result.normalizedEmbeds : result.embeds;
  const firstText = batch.images.length * projectionSize;
  const rows = (name: string, count: number, data: readonly number[]) =>
    count === 0 ? [] : [float32Tensor(name, [count, projectionSize], data)];
  const tensors: Readonly<Record<string, () => readonly NamedTensor[]>> = {
    image_embeds: () => rows('image_embeds', sources.length, spread(embeds, succeeded, projectionSize, 0)),
    text_embeds: () => rows('text_embeds', texts.length, Array.from(embeds.subarray(firstText))),
    probability: () => comparisons('probability', request, succeeded, result.ranking?.probability),
    cosine_similarity: () => comparisons('cosine_similarity', request, succeeded, result.ranking?.cosineSimilarity),
    error: () => [errorTensor(loaded)],
  };
  return {
    outputs: withErrors(outputs, loaded).flatMap((name) => tensors[name]?.() ?? []),
    failures: failuresOf(loaded),
    times,
    generatedTokens: 0,
  };
}

/** Whether an item is in the batch: all texts are, and the images that could be loaded. */
function isPresent(item: number, succeeded: readonly boolean[]): boolean {
  return succeeded[item] ?? true;
}

/** The queries and candidates that are present, by their numbers in the batch; nothing when one side is empty. */
function rankingOf(
  { queries, candidates }: ClipRequest,
  succeeded: readonly boolean[],
): ClipBatch['ranking'] | undefined {
  const absentBefore = (item: number) => succeeded.slice(0, item).filter((ok) => !ok).length;
  const present = (items: readonly number[]) =>
    items.filter((item) => isPresent(item, succeeded)).map((item) => item - absentBefore(item));
  const ranking = { queries: present(queries), candidates: present(candidates) };
  return ranking.queries.length === 0 || ranking.candidates.length === 0 ? undefined : ranking;
}

/** [queries, candidates], zero where one of the two could not be loaded. */
function comparisons(
  name: string,
  { queries, candidates }: ClipRequest,
  succeeded: readonly boolean[],
  data: Float32Array | undefined,
): readonly NamedTensor[] {
  if (queries.length === 0 || candidates.length === 0) return [];
  const numbers = (data ?? []).values();
  const values = queries.flatMap((query) =>
    candidates.map((candidate) => {
      const compared = data !== undefined && isPresent(query, succeeded) && isPresent(candidate, succeeded);
      return compared ? (numbers.next().value ?? 0) : 0;
    }),
  );
  return [float32Tensor(name, [queries.length, candidates.length], values)];
}
