import { encodingKey, type ImageCache, type ImageCacheUse } from './image-cache.ts';
import { pixelsOf, selectedImages } from './row-feeds.ts';
import type { RuntimeTensor } from './runtime.ts';
import { joined } from './tensors.ts';

/** The images of a batch, as a model gets them, with the encodings that are known of them: from the cache, or from a run. */
export class ImageEncodings {
  /** A name for each image. Where there is a cache, equal images of one client have the same. */
  readonly names: readonly string[];
  readonly #pixels: RuntimeTensor;
  readonly #cache: ImageCache | undefined;
  readonly #known = new Map<string, Float32Array>();
  readonly #hits: number;

  /**
   * @param pixels uint8 [images, size, size, 3].
   * @param clients whose each image is: only the same client finds its encoding in the cache.
   */
  constructor(pixels: RuntimeTensor, clients: readonly (string | undefined)[], cache: ImageCache | undefined) {
    this.#pixels = pixels;
    this.#cache = cache;
    this.names = Array.from({ length: pixels.shape[0] ?? 0 }, (_, image) =>
      cache === undefined ? String(image) : encodingKey(pixelsOf(pixels, image), clients[image]),
    );
    for (const name of this.names) {
      const encoding = cache?.read(name);
      if (encoding !== undefined) this.#known.set(name, encoding);
    }
    this.#hits = this.names.filter((name) => this.#known.has(name)).length;
  }

  isKnown(name: string): boolean {
    return this.#known.has(name);
  }

  /** @throws RangeError where it is not known. */
  encodingOf(name: string): Float32Array {
    const encoding = this.#known.get(name);
    if (encoding === undefined) throw new RangeError('Expected an image that was encoded.');
    return encoding;
  }

  /** uint8 [names, size, size, 3] */
  pixelsOf(names: readonly string[]): RuntimeTensor {
    return selectedImages(
      this.#pixels,
      names.map((name) => this.names.indexOf(name)),
    );
  }

  /**
   * Keeps what a run has computed. Each image's part is copied, so that none keeps the memory of the others.
   * @param outputs [names, …] each; the encoding of an image is its parts of all of them, one after the other.
   */
  keep(names: readonly string[], outputs: readonly Float32Array[]): void {
    for (const [index, name] of names.entries()) {
      const parts = outputs.map((output) => {
        const length = output.length / names.length;
        return output.subarray(index * length, (index + 1) * length);
      });
      const encoding = joined(parts);
      this.#known.set(name, encoding);
      this.#cache?.keep(name, encoding);
    }
  }

  /** How the cache served all images; `undefined` without one. */
  cacheUse(): ImageCacheUse | undefined {
    const [cache, hits] = [this.#cache, this.#hits];
    return cache && { hits, misses: this.names.length - hits, bytes: cache.bytes };
  }
}
