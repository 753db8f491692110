import type { ClipCheckpoint } from '../../checkpoint/checkpoint.ts';
import type { ClipTextConfig } from '../../checkpoint/config/clip-config.ts';
import { imageTokenCount } from '../../checkpoint/config/vision-config.ts';
import type { schemas } from '../../input_schema.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { float32Tensor, type NamedTensor } from '../../protocol/named-tensor.ts';
import type { InputsOf } from '../../protocol/schema.ts';
import type { ClipBatch, ClipResult, ClipText } from '../sessions/clip-batch.ts';
import { encoderTokens } from '../texts/text-tokens.ts';
import type { Tokenizer } from '../texts/tokenizer.ts';
import { RunQueue } from '../workers/run-queue.ts';
import type { WorkerPool } from '../workers/worker-pool.ts';
import { type EncodeInputs, type EncodeRequest, type EncodeWork, encodeRequest } from './encode-request.ts';
import { spread } from './request-images.ts';
import { type ReadRequest, requestContext, type TaskContext } from './task.ts';

type Inputs = InputsOf<typeof schemas.clip.inputs>;

/** CLIP: embeddings of images and texts, and the probability that each candidate fits a query. */
export function clipTask(
  checkpoint: ClipCheckpoint,
  pool: WorkerPool<'clip'>,
  context: TaskContext,
): ReadRequest<Inputs> {
  const { config, imageProcessor } = checkpoint;
  const shared = {
    readText: (text: string) => clipText(text, config.text, context.tokenizer),
    modelImages: { imageProcessor, imageSize: config.vision.imageSize },
    needsImages: false,
    queue: new RunQueue(pool.runner('clip')),
    workOf: ({ images, texts }: EncodeInputs<ClipText>) =>
      texts.reduce((tokens, { inputIds }) => tokens + inputIds.length, images.length * imageTokenCount(config.vision)),
  };
  return (inputs, outputs) => {
    const request = readRequest(inputs);
    const work = {
      ...shared,
      toBatch: (encoded: EncodeInputs<ClipText>) => toBatch(request, encoded, context.maxBatchSize),
      outputs: clipOutputs(request, config.projectionSize),
    };
    const items = request.sources.length + request.texts.length;
    return {
      size: { items, sequences: items },
      run: (listening) => encodeRequest(request, outputs, work, requestContext(context, listening)),
    };
  };
}

interface ClipRequest extends EncodeRequest {
  readonly normalize: boolean;
  /** Numbers of items: images first, then texts. */
  readonly queries: readonly number[];
  readonly candidates: readonly number[];
}

/** @throws HandlerError `INVALID_INPUT` when there is nothing to encode, no item of some number, or too many numbers. */
function readRequest({ img_url: sources = [], text: texts = [], ...inputs }: Inputs): ClipRequest {
  const count = sources.length + texts.length;
  if (count === 0) throw new HandlerError('INVALID_INPUT', 'Expected img_url or text, got neither.');
  return {
    sources,
    texts,
    normalize: inputs.normalize === true,
    queries: readItems('queries', inputs.queries, count) ?? range(0, sources.length),
    candidates: readItems('candidates', inputs.candidates, count) ?? range(sources.length, count),
  };
}

/** @throws HandlerError `INVALID_INPUT` when there are more numbers than items, or a number is none of an item. */
function readItems(name: string, items: readonly number[] | undefined, count: number): readonly number[] | undefined {
  if (items !== undefined && items.length > count) {
    const expected = `${name} to be at most as many as there are images and texts, ${count}`;
    throw new HandlerError('INVALID_INPUT', `Expected ${expected}, got ${items.length}.`);
  }
  const outside = items?.find((item) => item >= count);
  if (outside !== undefined)
    throw new HandlerError('INVALID_INPUT', `Expected ${name} to be below ${count}, got ${outside}.`);
  return items;
}

function range(from: number, to: number): readonly number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}

/** The token ids of a text, and the position of the token whose state becomes the embedding. */
function clipText(text: string, config: ClipTextConfig, tokenizer: Tokenizer): ClipText {
  const inputIds = encoderTokens(text, 'text', config, tokenizer);
  const { pooling } = config;
  const endTokenId = pooling === 'largest-id' ? Math.max(...inputIds) : pooling.eosTokenId;
  return { inputIds, endPosition: Math.max(0, inputIds.indexOf(endTokenId)) };
}

function toBatch(request: ClipRequest, { succeeded, ...inputs }: EncodeInputs<ClipText>, itemsPerRun: number) {
  const ranking = rankingOf(request, succeeded);
  return { ...inputs, itemsPerRun, ...(ranking === undefined ? {} : { ranking }) };
}

/** Whether an item is in the batch: all texts are, and the images that could be loaded. */
function isPresent(item: number, succeeded: readonly boolean[]): boolean {
  return succeeded[item] ?? true;
}

/** The queries and candidates that are present, by their numbers in the batch; `undefined` when one side is empty. */
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

/** @param length of an embedding. */
function clipOutputs(request: ClipRequest, length: number): EncodeWork<ClipText, ClipBatch, ClipResult>['outputs'] {
  const embedsOf = (result: ClipResult) => (request.normalize ? result.normalizedEmbeds : result.embeds);
  const rows = (name: string, count: number, data: readonly number[]) =>
    count === 0 ? [] : [float32Tensor(name, [count, length], data)];
  return {
    image_embeds: (result, { succeeded }) =>
      rows('image_embeds', succeeded.length, spread(embedsOf(result), succeeded, length, 0)),
    text_embeds: (result, { images, texts }) =>
      rows('text_embeds', texts.length, Array.from(embedsOf(result).subarray(images.length * length))),
    probability: ({ ranking }, { succeeded }) => comparisons('probability', request, succeeded, ranking?.probability),
    cosine_similarity: ({ ranking }, { succeeded }) =>
      comparisons('cosine_similarity', request, succeeded, ranking?.cosineSimilarity),
  };
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
