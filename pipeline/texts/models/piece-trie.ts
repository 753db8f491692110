const UNITS_PER_SLOT = 3;
const EMPTY = -1;

/**
 * Finds which pieces a text has at a place. Nodes are numbers, and one table holds all steps from a node, by a UTF-16 code
 * unit, to the next: a million steps take 25 MB, and as Maps of JavaScript they would take ten times that.
 */
export class PieceTrie {
  #table: Int32Array;
  #stepCount = 0;
  /** The id of the piece that ends at a node, or -1. */
  #idAt: Int32Array;
  /** A stranger's pieces could be such that all their steps meet in one slot of a known hash. */
  readonly #seeds = [1 + 2 * Math.floor(Math.random() * 2 ** 30), 1 + 2 * Math.floor(Math.random() * 2 ** 30)] as const;

  /** @param pieces by their ids. Of equal ones the last counts. */
  constructor(pieces: readonly string[]) {
    this.#table = new Int32Array(UNITS_PER_SLOT << 10).fill(EMPTY);
    this.#idAt = new Int32Array(1 << 10).fill(EMPTY);
    for (const [id, piece] of pieces.entries()) if (piece !== '') this.#add(piece, id);
  }

  /** The node behind a code unit, from a node or from the root, which is 0. -1: no piece goes on so. */
  next(node: number, unit: number): number {
    return this.#table[this.#slot(node, unit) + 2] ?? EMPTY;
  }

  /** The id of the piece that ends at a node. -1: none does. */
  idAt(node: number): number {
    return this.#idAt[node] ?? EMPTY;
  }

  #add(piece: string, id: number): void {
    let node = 0;
    for (let index = 0; index < piece.length; index += 1) node = this.#step(node, piece.charCodeAt(index));
    this.#idAt[node] = id;
  }

  /** The next node, which is made where there is none. */
  #step(node: number, unit: number): number {
    const slot = this.#slot(node, unit);
    const known = this.#table[slot + 2] ?? EMPTY;
    if (known !== EMPTY) return known;
    this.#stepCount += 1;
    this.#table.set([node, unit, this.#stepCount], slot);
    const next = this.#stepCount;
    if (next >= this.#idAt.length) this.#idAt = grown(this.#idAt);
    if (next * UNITS_PER_SLOT * 2 > this.#table.length) this.#enlarge();
    return next;
  }

  /** The slot of a step, or an empty one for it. */
  #slot(node: number, unit: number): number {
    const mask = this.#table.length / UNITS_PER_SLOT - 1;
    const mixed = Math.imul(node, this.#seeds[0]) ^ Math.imul(unit, this.#seeds[1]);
    let index = (mixed ^ (mixed >>> 15)) & mask;
    for (;;) {
      const slot = index * UNITS_PER_SLOT;
      const at = this.#table[slot];
      if (at === EMPTY || (at === node && this.#table[slot + 1] === unit)) return slot;
      index = (index + 1) & mask;
    }
  }

  #enlarge(): void {
    const old = this.#table;
    this.#table = new Int32Array(old.length * 2).fill(EMPTY);
    for (let slot = 0; slot < old.length; slot += UNITS_PER_SLOT) {
      const node = old[slot] ?? EMPTY;
      if (node !== EMPTY)
        this.#table.set(old.subarray(slot, slot + UNITS_PER_SLOT), this.#slot(node, old[slot + 1] ?? EMPTY));
    }
  }
}

function grown(array: Int32Array): Int32Array {
  const larger = new Int32Array(array.length * 2).fill(EMPTY);
  larger.set(array);
  return larger;
}
