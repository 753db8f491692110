import { KNOWN_VISION_STATES, NEW_VISION_STATES } from '../../models/towers/vision-states.ts';
import type { Graph } from '../../onnx/graph.ts';
import type { ImageCache, ImageCacheUse } from './image-cache.ts';
import { ImageEncodings } from './image-encodings.ts';
import { imageFeeds } from './row-feeds.ts';
import type { RuntimeTensor, Session } from './runtime.ts';
import { float32Data, joined } from './tensors.ts';

/** How the vision states of a batch's images are kept. */
export interface KeepingOptions {
  /** [tokens, width] of one image; `undefined` where the graph encodes all images in every run. */
  readonly stateShape: readonly number[] | undefined;
  readonly cache: ImageCache | undefined;
  /** Whose each image is. */
  readonly clients: readonly (string | undefined)[];
  /** Whether several runs may look at one image. */
  readonly hasSeveralRuns: boolean;
}

/** [tokens, width] of the vision states of one image, where a graph takes those that are known. */
export function stateShapeOf(graph: Graph): readonly number[] | undefined {
  const input = graph.inputs.find(({ name }) => name === KNOWN_VISION_STATES);
  return input?.shape?.slice(1).map(Number);
}

/**
 * The images of a batch of BLIP. Each goes through the vision model once, in the first run that looks at it, or not at all,
 * where the cache has its states.
 */
export class BatchImages {
  readonly #encodings: ImageEncodings;
  readonly #stateShape: readonly number[];
  readonly #keepsStates: boolean;

  /** @param pixels uint8 [images, size, size, 3]. */
  constructor(pixels: RuntimeTensor, { stateShape, cache, clients, hasSeveralRuns }: KeepingOptions) {
    const usedCache = stateShape === undefined ? undefined : cache;
    this.#encodings = new ImageEncodings(pixels, clients, usedCache);
    this.#stateShape = stateShape ?? [];
    this.#keepsStates = stateShape !== undefined && (hasSeveralRuns || cache !== undefined);
  }

  cacheUse(): ImageCacheUse | undefined {
    return this.#encodings.cacheUse();
  }

  /**
   * Runs a graph that looks at some of the images, in that order.
   * @param feeds the graph's inputs other than those of images.
   */
  async run(
    session: Session,
    images: readonly number[],
    feeds: Readonly<Record<string, RuntimeTensor>>,
  ): Promise<Readonly<Record<string, RuntimeTensor>>> {
    const encodings = this.#encodings;
    const names = images.map((image) => encodings.names[image] ?? '');
    const unique = [...new Set(names)];
    const fresh = unique.filter((name) => !encodings.isKnown(name));
    const known = unique.filter((name) => encodings.isKnown(name));
    const places = [...fresh, ...known];
    const states = joined(known.map((name) => encodings.encodingOf(name)));
    const ofImages = imageFeeds(encodings.pixelsOf(fresh), {
      states: { data: states, shape: [known.length, ...this.#stateShape] },
      order: names.map((name) => places.indexOf(name)),
    });
    const outputs = await session.run({ ...ofImages, ...feeds }, this.#keepsStates ? [] : [NEW_VISION_STATES]);
    if (this.#keepsStates) encodings.keep(fresh, [float32Data(outputs, NEW_VISION_STATES)]);
    return outputs;
  }
}
