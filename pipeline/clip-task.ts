import type { ClipCheckpoint } from '../checkpoint/checkpoint.ts';
import type { ClipTextConfig } from '../checkpoint/clip-config.ts';
import { HandlerError } from '../protocol/errors.ts';
import { float32Tensor, type NamedTensor } from '../protocol/named-tensor.ts';
import type { ClipBatch, ClipResult, ClipText } from './clip-model.ts';
import { errorTensor, isFailure, isSuccess, requireSomeSuccess, withErrors } from './outcome.ts';
import { loadImages, spread } from './request-images.ts';
import { createRunQueue, type RunQueue } from './run-queue.ts';
import { noTimes, recordSlowest, type Task, type TaskContext, type TensorAnswer } from './task.ts';
import { encoderTokens } from './text-tokens.ts';
import type { Tokenizer } from './tokenizer.ts';
import type { WorkerPool } from './worker-pool.ts';

/** CLIP: embeddings of images and texts, and how well each text describes each image. */
export function clipTask(
  checkpoint: ClipCheckpoint,
  pool: WorkerPool<ClipBatch, ClipResult>,
  context: TaskContext,
): Task {
  const queue = createRunQueue(pool);
  return (inputs, outputs) => {
    const sources = (inputs['img_url'] ?? []) as readonly string[]; // The schema let only these types through.
    const texts = (inputs['text'] ?? []) as readonly string[];
    const normalize = inputs['normalize']?.[0] === true;
    if (sources.length + texts.length === 0)
      throw new HandlerError('INVALID_INPUT', 'Expected img_url or text, got neither.');
    const tokens = texts.map((text) => clipText(text, checkpoint.config.text, context.tokenizer));
    return {
      itemCount: sources.length + texts.length,
      run: () => encode({ sources, texts: tokens, normalize }, outputs, checkpoint, { ...context, queue }),
    };
  };
}

/** The token ids of a text, and where the token is that stands for it. */
function clipText(text: string, config: ClipTextConfig, tokenizer: Tokenizer): ClipText {
  const inputIds = encoderTokens(text, 'text', config, tokenizer);
  const { pooling } = config;
  const endTokenId = pooling === 'largest-id' ? Math.max(...inputIds) : pooling.eosTokenId;
  return { inputIds, endPosition: Math.max(0, inputIds.indexOf(endTokenId)) };
}

interface Encoding {
  readonly sources: readonly string[];
  readonly texts: readonly ClipText[];
  readonly normalize: boolean;
}

async function encode(
  { sources, texts, normalize }: Encoding,
  outputs: readonly string[],
  { config, imageProcessor }: ClipCheckpoint,
  context: TaskContext & { readonly queue: RunQueue<ClipBatch, ClipResult> },
): Promise<TensorAnswer> {
  const times = noTimes();
  const loaded = await loadImages(sources, { imageProcessor, imageSize: config.vision.imageSize }, context, times);
  if (texts.length === 0) requireSomeSuccess(loaded);
  const images = loaded.filter(isSuccess);
  const { result, queueMs } = await context.queue.run({ images, texts, ...rankingOf(images.length, texts.length) });
  recordSlowest(times, { ...result, queueMs });
  const embeds = normalize ? result.normalizedEmbeds : result.embeds;
  const succeeded = loaded.map(isSuccess);
  const { projectionSize } = config;
  const firstText = images.length * projectionSize;
  const pairs = (name: string, data: Float32Array | undefined) =>
    data === undefined
      ? []
      : [float32Tensor(name, [sources.length, texts.length], spread(data, succeeded, texts.length, 0))];
  const rows = (name: string, count: number, data: readonly number[]) =>
    count === 0 ? [] : [float32Tensor(name, [count, projectionSize], data)];
  const tensors: Readonly<Record<string, () => readonly NamedTensor[]>> = {
    image_embeds: () => rows('image_embeds', sources.length, spread(embeds, succeeded, projectionSize, 0)),
    text_embeds: () => rows('text_embeds', texts.length, Array.from(embeds.subarray(firstText))),
    probability: () => pairs('probability', result.ranking?.probability),
    cosine_similarity: () => pairs('cosine_similarity', result.ranking?.cosineSimilarity),
    error: () => [errorTensor(loaded)],
  };
  return {
    outputs: withErrors(outputs, loaded).flatMap((name) => tensors[name]?.() ?? []),
    failures: loaded.filter(isFailure).map(({ error }) => error),
    times,
    generatedTokens: 0,
  };
}

/** Images are the queries, texts the candidates; there is nothing to rank without both. */
function rankingOf(imageCount: number, textCount: number): Pick<ClipBatch, 'ranking'> {
  if (imageCount === 0 || textCount === 0) return {};
  const range = (from: number, count: number) => Array.from({ length: count }, (_, index) => from + index);
  return { ranking: { queries: range(0, imageCount), candidates: range(imageCount, textCount) } };
}
