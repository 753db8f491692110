/** Positions of a text are below it: the longest that is not refused has a sixteenth of that. */
const MAX_POSITIONS = 2 ** 26;

/** Merges that can be made, the one of the lowest rank first, and of equal ones the leftmost. A heap of numbers. */
export class MergeQueue {
  /** Rank times `MAX_POSITIONS`, and the position. */
  readonly #heap: number[] = [];

  push(rank: number, position: number): void {
    const heap = this.#heap;
    const value = rank * MAX_POSITIONS + position;
    let index = heap.length;
    heap.push(value);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent] ?? 0;
      if (above <= value) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = value;
  }

  pop(): { readonly rank: number; readonly position: number } | undefined {
    const first = this.#heap[0];
    const last = this.#heap.pop();
    if (first === undefined || last === undefined) return undefined;
    if (this.#heap.length > 0) this.#sink(last);
    return { rank: Math.floor(first / MAX_POSITIONS), position: first % MAX_POSITIONS };
  }

  /** Puts a value in the place of the first. */
  #sink(value: number): void {
    const heap = this.#heap;
    let index = 0;
    for (;;) {
      const [left, right] = [2 * index + 1, 2 * index + 2];
      const isRight = (heap[right] ?? Number.POSITIVE_INFINITY) < (heap[left] ?? Number.POSITIVE_INFINITY);
      const child = isRight ? right : left;
      const below = heap[child] ?? Number.POSITIVE_INFINITY;
      if (below >= value) break;
      heap[index] = below;
      index = child;
    }
    heap[index] = value;
  }
}
