/** What an answer counts beside its bytes, so that a bound of bytes is one of answers too. */
const ENTRY_BYTES = 1_024;

/** Answers that may be asked for a while: as long as each is kept, and as there is room. */
export interface KeptAnswers {
  /**
   * Keeps an answer, in place of others where it must: of those that are kept the shortest time, the oldest.
   * @returns whether there can be room for it.
   */
  keep(id: string, answer: Uint8Array, keptMs: number): boolean;
  /** An answer that is still kept. From now on it is read. */
  read(id: string): Uint8Array | undefined;
  /**
   * Those that nobody has read.
   * @param withinMs only those that are kept for less than this.
   */
  unread(withinMs?: number): readonly string[];
}

interface Kept {
  readonly answer: Uint8Array;
  readonly sinceMs: number;
  readonly expiresMs: number;
  isRead: boolean;
}

/** @param maxBytes of all of them together, each with `ENTRY_BYTES` of its own. */
export function createKeptAnswers(maxBytes: number, nowMs: () => number = () => performance.now()): KeptAnswers {
  /** By how long they are kept: in each, the first is the oldest, and the next to expire. */
  const lines = new Map<number, Map<string, Kept>>();
  let keptBytes = 0;
  const shortestFirst = () => [...lines].sort(([one], [other]) => one - other).map(([, line]) => line);
  /** Removes the first of each line, as long as they may go. */
  const removeWhile = (mayGo: (kept: Kept) => boolean) => {
    for (const line of shortestFirst()) {
      for (const [id, kept] of line) {
        if (!mayGo(kept)) break;
        line.delete(id);
        keptBytes -= sizeOf(kept.answer);
      }
    }
  };
  const removeExpired = () => removeWhile(({ expiresMs }) => expiresMs <= nowMs());
  return {
    keep(id, answer, keptMs) {
      const size = sizeOf(answer);
      if (size > maxBytes) return false;
      removeExpired();
      removeWhile(() => keptBytes + size > maxBytes);
      const line = lines.get(keptMs) ?? new Map<string, Kept>();
      lines.set(keptMs, line);
      const sinceMs = nowMs();
      line.set(id, { answer, sinceMs, expiresMs: sinceMs + keptMs, isRead: false });
      keptBytes += size;
      return true;
    },
    read(id) {
      removeExpired();
      const kept = shortestFirst().flatMap((line) => line.get(id) ?? [])[0];
      if (kept !== undefined) kept.isRead = true;
      return kept?.answer;
    },
    unread(withinMs = Number.POSITIVE_INFINITY) {
      removeExpired();
      const isMeant = ({ isRead, sinceMs }: Kept) => !isRead && nowMs() - sinceMs < withinMs;
      return shortestFirst().flatMap((line) => [...line].flatMap(([id, kept]) => (isMeant(kept) ? [id] : [])));
    },
  };
}

function sizeOf(answer: Uint8Array): number {
  return answer.length + ENTRY_BYTES;
}
