import type { BlipCheckpoint } from '../../checkpoint/checkpoint.ts';
import { float32Tensor, type NamedTensor } from '../../protocol/named-tensor.ts';
import type { InputLists } from '../../protocol/schema.ts';
import type { ImageSource } from '../images/image-source.ts';
import type { RetrievalBatch, RetrievalResult } from '../sessions/retrieval-session.ts';
import { watchRun } from '../stages.ts';
import { encoderTokens, readInTurns } from '../texts/text-tokens.ts';
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

/** Image-text matching: every image with every text. */
export function retrievalTask(
  checkpoint: BlipCheckpoint,
  pool: WorkerPool<RetrievalBatch, RetrievalResult>,
  context: TaskContext & { readonly maxBatchSize: number },
): Task {
  const queue = createRunQueue(pool);
  return (inputs, outputs) => {
    const request = readRequest(inputs);
    return {
      itemCount: request.sources.length * request.texts.length,
      run: (signal, progress) =>
        compare(request, outputs, checkpoint, { ...contextUntil(signal, context, progress), queue }),
    };
  };
}

interface Comparison {
  readonly sources: readonly ImageSource[];
  readonly texts: readonly string[];
  readonly rerankTopK: number | undefined;
}

function readRequest(inputs: InputLists): Comparison {
  return {
    sources: (inputs['img_url'] ?? []) as readonly ImageSource[], // The schema let only these types through.
    texts: (inputs['text'] ?? []) as readonly string[],
    rerankTopK: inputs['rerank_top_k']?.[0] as number | undefined,
  };
}

async function compare(
  request: Comparison,
  outputs: readonly string[],
  { config, imageProcessor }: BlipCheckpoint,
  context: RequestContext & {
    readonly maxBatchSize: number;
    readonly queue: RunQueue<RetrievalBatch, RetrievalResult>;
  },
): Promise<TensorAnswer> {
  const { sources, rerankTopK } = request;
  const readText = (text: string) => encoderTokens(text, 'text', config.text, context.tokenizer);
  const texts = await readInTurns(request.texts, readText, context.signal);
  const times = noTimes();
  const loaded = await loadImages(sources, { imageProcessor, imageSize: config.vision.imageSize }, context, times);
  requireSomeSuccess(loaded);
  const images = loaded.filter(isSuccess);
  const wanted = outputs.includes('match_probability') ? (rerankTopK ?? images.length) : 0;
  const comparedImages = Math.min(wanted, images.length);
  const batch = { images, texts, comparedImages, imagesPerRun: context.maxBatchSize };
  const { result, queueMs } = await watchRun(context.progress, images.length + texts.length, (onComputing) =>
    context.queue.run(batch, context.signal, onComputing),
  );
  recordSlowest(times, { ...result, queueMs });
  const succeeded = loaded.map(isSuccess);
  const tensors: Readonly<Record<string, () => NamedTensor>> = {
    match_probability: () => pairs('match_probability', result.matchProbability, -1),
    cosine_similarity: () => pairs('cosine_similarity', result.cosineSimilarity, 0),
    image_embeds: () => {
      const length = config.imageTextHiddenSize;
      return float32Tensor('image_embeds', [sources.length, length], spread(result.imageEmbeds, succeeded, length, 0));
    },
    text_embeds: () =>
      float32Tensor('text_embeds', [texts.length, config.imageTextHiddenSize], Array.from(result.textEmbeds)),
    error: () => errorTensor(loaded),
  };
  const pairs = (name: string, data: Float32Array, filler: number) =>
    float32Tensor(name, [sources.length, texts.length], spread(data, succeeded, texts.length, filler));
  return {
    outputs: withErrors(outputs, loaded).flatMap((name) => tensors[name]?.() ?? []),
    failures: failuresOf(loaded),
    times,
    generatedTokens: 0,
  };
}
