import type Handler from '../../app.ts';

/**
 * Counts the work of a caption, which no kernel can be faster than: the products of the tower at the card's rate, and for
 * each token all weights of the decoder at the rate of its memory. summary.py divides them by the measured rates.
 */
export interface CaptionWork {
  /** Of the vision tower, for one image. */
  readonly imageTeraflops: number;
  /** Weights that one token of any number of captions reads. */
  readonly tokenMegabytes: number;
}

const bytesOf = { float32: 4, float16: 2, bfloat16: 2 } as const;

/** @throws Error when the model is not loaded. */
export function captionWork({ model }: Handler, precision: keyof typeof bytesOf): CaptionWork {
  if (model === undefined) throw new Error('Expected a loaded model after initialize().');
  const { config } = model.checkpoint;
  if (!('text' in config)) throw new Error('Expected a checkpoint of BLIP.');
  const { vision, text } = config;
  const tokens = (vision.imageSize / vision.patchSize) ** 2 + 1;
  const layer = 4 * vision.hiddenSize ** 2 + 2 * vision.hiddenSize * vision.intermediateSize;
  const attention = 2 * tokens * vision.hiddenSize;
  const imageFlops = 2 * tokens * vision.layerCount * (layer + attention);
  // Query, key, value and output of self-attention; query and output of cross-attention; the feed-forward part.
  const decoderLayer = 6 * text.hiddenSize ** 2 + 2 * text.hiddenSize * text.intermediateSize;
  const head = text.hiddenSize * (text.hiddenSize + text.vocabularySize);
  return {
    imageTeraflops: imageFlops / 1e12,
    tokenMegabytes: ((text.layerCount * decoderLayer + head) * bytesOf[precision]) / 1e6,
  };
}
