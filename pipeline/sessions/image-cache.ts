import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { CACHE_ENTRY_BYTES } from './image-cache-size.ts';

/** How the cache served the images of a batch. */
export interface ImageCacheUse {
  /** Images whose encoding was there, and images that were encoded. */
  readonly hits: number;
  readonly misses: number;
  /** Bytes of all encodings that are kept now: by the worker, and as a pool reports it, by all its workers. */
  readonly bytes: number;
}

/**
 * Encodings of images that were seen before; where there is no room, the one that was used longest ago goes. One worker's,
 * for one model.
 */
export class ImageCache {
  readonly #encodings: LRUCache<string, Float32Array>;

  /** @param maxBytes of all encodings, each with `CACHE_ENTRY_BYTES` added; at least 1. */
  constructor(maxBytes: number) {
    this.#encodings = new LRUCache({
      maxSize: maxBytes,
      sizeCalculation: ({ byteLength }) => byteLength + CACHE_ENTRY_BYTES,
    });
  }

  get bytes(): number {
    return this.#encodings.calculatedSize;
  }

  read(key: string): Float32Array | undefined {
    return this.#encodings.get(key);
  }

  keep(key: string, encoding: Float32Array): void {
    this.#encodings.set(key, encoding);
  }
}

/**
 * The name of an image's encoding. It depends on the pixels that the model gets, whatever file they came from, and on the
 * client: otherwise a client could tell by the time of an answer that another one has asked about the same picture.
 */
export function encodingKey(pixels: Uint8Array, client: string | undefined): string {
  return createHash('sha256')
    .update(JSON.stringify([client]))
    .update(pixels)
    .digest('base64');
}

/** The use by all parts of a batch, of which the last one knows the bytes; `undefined` without a cache. */
export function sumOfUses(uses: readonly (ImageCacheUse | undefined)[]): ImageCacheUse | undefined {
  const present = uses.filter((use) => use !== undefined);
  const [last] = present.slice(-1);
  if (last === undefined) return undefined;
  const sum = (name: 'hits' | 'misses') => present.reduce((total, use) => total + use[name], 0);
  return { hits: sum('hits'), misses: sum('misses'), bytes: last.bytes };
}
