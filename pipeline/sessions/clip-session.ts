import type { ClipCheckpoint } from '../../checkpoint/checkpoint.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import type { clipGraphs } from '../../models/families.ts';
import type { ClipBatch, ClipResult, ClipText } from './clip-batch.ts';
import { type ImageCache, type ImageCacheUse, sumOfUses } from './image-cache.ts';
import { ImageEncodings } from './image-encodings.ts';
import type { ImageResizer } from './image-resizer.ts';
import type { LoadedSession, SessionOptions } from './loaded-session.ts';
import { type Pause, Pauses } from './pause.ts';
import type { RuntimeTensor } from './runtime.ts';
import { float32Data, joined, paddedRows, parts, runtimeInt64s } from './tensors.ts';
import { openWeightsSession, type WeightsSession } from './weights-session.ts';

interface Sessions {
  readonly image: WeightsSession;
  readonly text: WeightsSession;
  readonly rank: WeightsSession;
  readonly resizer: ImageResizer;
  readonly embedLength: number;
  readonly cache: ImageCache | undefined;
}

/**
 * Loads a CLIP checkpoint: one session each for images, texts and ranking, because requests may want any of them alone.
 * @throws CheckpointError when the folder cannot be served.
 */
export async function loadClipSession(
  graphs: typeof clipGraphs.clip,
  resizer: ImageResizer,
  checkpoint: ClipCheckpoint,
  weights: Weights,
  options: SessionOptions,
): Promise<LoadedSession<'clip'>> {
  const sessions: Sessions = {
    image: await openWeightsSession(graphs.image(checkpoint, weights, options), weights, options),
    text: await openWeightsSession(graphs.text(checkpoint, weights, options), weights, options),
    rank: await openWeightsSession(graphs.rank(checkpoint, weights), weights, options),
    resizer,
    embedLength: checkpoint.config.projectionSize,
    cache: options.imageCache,
  };
  const all = [sessions.image, sessions.text, sessions.rank];
  return {
    runs: { clip: (batch, pause) => runBatch(sessions, batch, pause) },
    async pack() {
      for (const session of all) await session.pack();
    },
    async release() {
      for (const session of all) await session.release();
    },
  };
}

async function runBatch(sessions: Sessions, batch: ClipBatch, pause?: Pause): Promise<ClipResult> {
  const startMs = performance.now();
  const pauses = new Pauses(pause);
  const encoded: Encoded[] = [];
  const uses: (ImageCacheUse | undefined)[] = [];
  let resizeMs = 0;
  for (const images of parts(batch.images, batch.itemsPerRun)) {
    await pauses.beforeRun();
    const partStartMs = performance.now();
    const resized = await sessions.resizer.resizeAll(images);
    resizeMs += performance.now() - partStartMs;
    const embeds = await encodeImages(sessions, resized, batch.client);
    encoded.push(embeds);
    uses.push(embeds.imageCache);
  }
  for (const texts of parts(batch.texts, batch.itemsPerRun)) {
    await pauses.beforeRun();
    encoded.push(embedsOf(await sessions.text.run(textInputs(texts)), 'text'));
  }
  const normalizedEmbeds = joined(encoded.map(({ normalized }) => normalized));
  const ranking = batch.ranking === undefined ? undefined : await rank(sessions, normalizedEmbeds, batch.ranking);
  return {
    embeds: joined(encoded.map(({ raw }) => raw)),
    normalizedEmbeds,
    ...(ranking === undefined ? {} : { ranking }),
    resizeMs,
    computeMs: performance.now() - startMs - resizeMs - pauses.totalMs,
    imageCache: sumOfUses(uses),
  };
}

interface Encoded {
  readonly raw: Float32Array;
  readonly normalized: Float32Array;
}

/** Encodes images, except those whose embeddings are in the cache. */
async function encodeImages(
  { image: session, cache }: Sessions,
  pixels: RuntimeTensor,
  client: string | undefined,
): Promise<Encoded & Pick<ClipResult, 'imageCache'>> {
  const clients = Array.from({ length: pixels.shape[0] ?? 0 }, () => client);
  const encodings = new ImageEncodings(pixels, clients, cache);
  const fresh = [...new Set(encodings.names)].filter((name) => !encodings.isKnown(name));
  if (fresh.length > 0) {
    const { raw, normalized } = embedsOf(await session.run({ images: encodings.pixelsOf(fresh) }), 'image');
    encodings.keep(fresh, [raw, normalized]);
  }
  const both = encodings.names.map((name) => encodings.encodingOf(name));
  return {
    raw: joined(both.map((embeds) => embeds.subarray(0, embeds.length / 2))),
    normalized: joined(both.map((embeds) => embeds.subarray(embeds.length / 2))),
    imageCache: encodings.cacheUse(),
  };
}

function embedsOf(outputs: Readonly<Record<string, RuntimeTensor>>, kind: 'image' | 'text'): Encoded {
  return {
    raw: float32Data(outputs, `${kind}_embeds`),
    normalized: float32Data(outputs, `normalized_${kind}_embeds`),
  };
}

function textInputs(texts: readonly ClipText[]): Record<string, RuntimeTensor> {
  return {
    input_ids: paddedRows(texts.map(({ inputIds }) => inputIds)).ids,
    end_position: runtimeInt64s(texts.map(({ endPosition }) => endPosition)),
  };
}

async function rank(
  { rank: session, embedLength }: Sessions,
  embeds: Float32Array,
  { queries, candidates }: NonNullable<ClipBatch['ranking']>,
): Promise<NonNullable<ClipResult['ranking']>> {
  const rows = (items: readonly number[]): RuntimeTensor => ({
    data: joined(items.map((item) => embeds.subarray(item * embedLength, (item + 1) * embedLength))),
    shape: [items.length, embedLength],
  });
  const outputs = await session.run({ queries: rows(queries), candidates: rows(candidates) });
  return {
    cosineSimilarity: float32Data(outputs, 'cosine_similarity'),
    probability: float32Data(outputs, 'probability'),
  };
}
