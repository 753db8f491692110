import { LRUCache } from 'lru-cache';

/** Added to the bytes of each answer, so that a bound of bytes bounds the number of answers too. */
const ENTRY_BYTES = 1_024;

interface CachedAnswer {
  readonly answer: Uint8Array;
  readonly sinceMs: number;
  isRead: boolean;
}

/** Answers that clients may ask for: each for its time, and as long as there is room. */
export class AnswerCache {
  readonly #maxBytes: number;
  readonly #nowMs: () => number;
  /** Answers by the time that they are kept for. In each cache the oldest answer is the first to expire and to go. */
  readonly #caches = new Map<number, LRUCache<string, CachedAnswer>>();

  /** @param maxBytes of all answers together, each with `ENTRY_BYTES` added. */
  constructor(maxBytes: number, nowMs: () => number = () => performance.now()) {
    this.#maxBytes = Math.floor(maxBytes);
    this.#nowMs = nowMs;
  }

  /**
   * Keeps an answer. Where there is no room, others go: among those that are kept for the shortest time, the oldest.
   * @returns whether there can be room for it.
   */
  keep(id: string, answer: Uint8Array, keptMs: number): boolean {
    const size = answer.length + ENTRY_BYTES;
    if (size > this.#maxBytes) return false;
    for (const cache of this.#shortestFirst())
      while (cache.size > 0 && this.#totalBytes() + size > this.#maxBytes) cache.pop();
    this.#cacheFor(keptMs).set(id, { answer, sinceMs: this.#nowMs(), isRead: false }, { size });
    return true;
  }

  /** An answer that is still kept; `undefined` for any other id. From here on it counts as read. */
  read(id: string): Uint8Array | undefined {
    const cached = this.#find(id);
    if (cached !== undefined) cached.isRead = true;
    return cached?.answer;
  }

  /** That answer, which does not count as read by this. */
  peek(id: string): Uint8Array | undefined {
    return this.#find(id)?.answer;
  }

  drop(id: string): void {
    for (const cache of this.#caches.values()) cache.delete(id);
  }

  /**
   * Ids of the answers that nobody has read.
   * @param withinMs counts only answers that have been kept for less than this.
   */
  unread(withinMs: number = Number.POSITIVE_INFINITY): readonly string[] {
    const nowMs = this.#nowMs();
    const isWanted = (cached: CachedAnswer | undefined) =>
      cached !== undefined && !cached.isRead && nowMs - cached.sinceMs < withinMs;
    return this.#shortestFirst().flatMap((cache) => [...cache.rkeys()].filter((id) => isWanted(cache.peek(id))));
  }

  /** Without a touch: answers go by their age, not by their use. */
  #find(id: string): CachedAnswer | undefined {
    return this.#shortestFirst().flatMap((cache) => cache.peek(id) ?? [])[0];
  }

  #totalBytes(): number {
    return [...this.#caches.values()].reduce((sum, { calculatedSize }) => sum + calculatedSize, 0);
  }

  #shortestFirst(): readonly LRUCache<string, CachedAnswer>[] {
    return [...this.#caches].sort(([one], [other]) => one - other).map(([, cache]) => cache);
  }

  #cacheFor(keptMs: number): LRUCache<string, CachedAnswer> {
    const cache =
      this.#caches.get(keptMs) ??
      new LRUCache<string, CachedAnswer>({
        maxSize: this.#maxBytes,
        ttl: keptMs,
        ttlAutopurge: true, // So that expired answers free their memory and their room.
        ttlResolution: 0,
        perf: { now: this.#nowMs },
      });
    this.#caches.set(keptMs, cache);
    return cache;
  }
}
