import {
  type Blip2RetrievalCheckpoint,
  type BlipCheckpoint,
  isBlip2Retrieval,
  textPartOf,
} from '../../checkpoint/checkpoint.ts';
import { imageTokenCount } from '../../checkpoint/config/vision-config.ts';
import type { schemas } from '../../input_schema.ts';
import { float32Tensor } from '../../protocol/named-tensor.ts';
import type { InputsOf } from '../../protocol/schema.ts';
import type { RetrievalBatch, RetrievalResult } from '../sessions/retrieval-batch.ts';
import { IMAGE_TOKEN, refuseImageToken } from '../texts/image-token.ts';
import { encoderTokens } from '../texts/text-tokens.ts';
import { RunQueue } from '../workers/run-queue.ts';
import type { WorkerPool } from '../workers/worker-pool.ts';
import { type EncodeInputs, type EncodeWork, encodeRequest } from './encode-request.ts';
import { spread } from './request-images.ts';
import { type ReadRequest, requestContext, type TaskContext } from './task.ts';

type Inputs = InputsOf<typeof schemas.retrieval.inputs>;
/** The token ids of each text: [CLS], the text and [SEP]. */
type RetrievalInputs = EncodeInputs<readonly number[]>;

/** Image-text retrieval: every image is compared with every text. */
export function retrievalTask(
  checkpoint: BlipCheckpoint | Blip2RetrievalCheckpoint,
  pool: WorkerPool<'retrieval'>,
  context: TaskContext,
): ReadRequest<Inputs> {
  const { config, imageProcessor } = checkpoint;
  const shared = {
    readText: textReader(checkpoint, context),
    modelImages: { imageProcessor, imageSize: config.vision.imageSize },
    needsImages: true,
    queue: new RunQueue(pool.runner('retrieval')),
    workOf: ({ images, texts }: RetrievalInputs) =>
      images.length * texts.reduce((tokens, ids) => tokens + ids.length, imageTokenCount(config.vision)),
    outputs: retrievalOutputs(config.imageTextHiddenSize, imageShapeOf(checkpoint)),
  };
  return ({ img_url: sources, text: texts, rerank_top_k: rerankTopK }, outputs) => {
    const toBatch = ({ images, texts: textIds, client }: RetrievalInputs): RetrievalBatch => {
      const wanted = outputs.includes('match_probability') ? (rerankTopK ?? images.length) : 0;
      const comparedImages = Math.min(wanted, images.length);
      return { images, client, texts: textIds, comparedImages, imagesPerRun: context.maxBatchSize };
    };
    const pairs = sources.length * texts.length;
    return {
      size: { items: pairs, sequences: pairs },
      run: (listening) =>
        encodeRequest({ sources, texts }, outputs, { ...shared, toBatch }, requestContext(context, listening)),
    };
  };
}

/** The Q-Former of BLIP-2 has no row for the token of the image, which its tokenizer makes of a literal `<image>`. */
function textReader({ config }: Pick<BlipCheckpoint | Blip2RetrievalCheckpoint, 'config'>, context: TaskContext) {
  const { tokenizer } = context;
  const model = textPartOf(config);
  const hasImageToken = 'qFormer' in config && tokenizer.addedTokens.some(({ content }) => content === IMAGE_TOKEN);
  return (text: string) => {
    if (hasImageToken) refuseImageToken(text, 'text', IMAGE_TOKEN);
    return encoderTokens(text, 'text', model, tokenizer);
  };
}

/** The shape of the embedding of an image, or in BLIP-2 of its several. */
function imageShapeOf(checkpoint: BlipCheckpoint | Blip2RetrievalCheckpoint): readonly number[] {
  const { imageTextHiddenSize: length } = checkpoint.config;
  return isBlip2Retrieval(checkpoint) ? [checkpoint.config.queryCount, length] : [length];
}

/** @param length of an embedding. */
function retrievalOutputs(
  length: number,
  imageShape: readonly number[],
): EncodeWork<readonly number[], RetrievalBatch, RetrievalResult>['outputs'] {
  const imageLength = imageShape.reduce((product, size) => product * size, 1);
  /** [images, texts]; `filler` for images that could not be loaded. */
  const pairs = (name: string, data: Float32Array, { texts, succeeded }: RetrievalInputs, filler: number) => [
    float32Tensor(name, [succeeded.length, texts.length], spread(data, succeeded, texts.length, filler)),
  ];
  return {
    match_probability: ({ matchProbability }, inputs) => pairs('match_probability', matchProbability, inputs, -1),
    cosine_similarity: ({ cosineSimilarity }, inputs) => pairs('cosine_similarity', cosineSimilarity, inputs, 0),
    image_embeds: ({ imageEmbeds }, { succeeded }) => [
      float32Tensor('image_embeds', [succeeded.length, ...imageShape], spread(imageEmbeds, succeeded, imageLength, 0)),
    ],
    text_embeds: ({ textEmbeds }, { texts }) => [
      float32Tensor('text_embeds', [texts.length, length], Array.from(textEmbeds)),
    ],
  };
}
