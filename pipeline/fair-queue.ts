/** An item that waits. */
interface Waiting<Item> {
  readonly item: Item;
  readonly work: number;
  /** Counts arrivals, over all clients. */
  readonly arrival: number;
}

/** The items of one client, in the order in which they came. */
interface Line<Item> {
  readonly waiting: Waiting<Item>[];
  /** The work that this client was given. A client that comes back counts as having had as much as is served now. */
  served: number;
}

/**
 * Items that wait, whose clients take turns: the next is the oldest item of the client that was given the least work. So
 * a client with few items waits for one turn of each other client, however many items those have, and nobody starves.
 * One client alone is served in the order of its items.
 *
 * This is start-time fair queueing (Goyal, Vin and Cheng, 1996) with equal weights.
 */
export class FairQueue<Item> {
  readonly #lines = new Map<string | undefined, Line<Item>>();
  readonly #clients = new Map<Item, string | undefined>();
  /** The work that the client served last had been given before. */
  #level = 0;
  #arrivals = 0;

  /** How many items wait. */
  get size(): number {
    return this.#clients.size;
  }

  /** How many items of a client wait. */
  sizeOf(client: string | undefined): number {
    return this.#lines.get(client)?.waiting.length ?? 0;
  }

  /**
   * Adds an item, once.
   * @param client whose item it is; `undefined` is a client too.
   * @param work what the item costs, in any unit that all items of these turns share: bytes, rows, seconds.
   */
  add(item: Item, client: string | undefined, work: number): void {
    const line = this.#lines.get(client) ?? { waiting: [], served: this.#level };
    if (line.waiting.length === 0) line.served = Math.max(line.served, this.#level);
    line.waiting.push({ item, work, arrival: this.#arrivals });
    this.#arrivals += 1;
    this.#lines.set(client, line);
    this.#clients.set(item, client);
  }

  /** The item whose turn it is; `undefined` when none waits. */
  next(): Item | undefined {
    let best: { readonly waiting: Waiting<Item>; readonly served: number } | undefined;
    for (const { waiting, served } of this.#lines.values()) {
      const [oldest] = waiting;
      if (oldest === undefined) continue;
      if (best === undefined || isBefore({ waiting: oldest, served }, best)) best = { waiting: oldest, served };
    }
    return best?.waiting.item;
  }

  /** All items, in the order in which their turns would come if each were served with its work. */
  inTurn(): readonly Item[] {
    const lines = [...this.#lines.values()].filter(({ waiting }) => waiting.length > 0);
    if (lines.length <= 1) return lines.flatMap(({ waiting }) => waiting.map(({ item }) => item));
    const starts = lines.flatMap(({ waiting, served }) => {
      let start = served;
      return waiting.map((each) => {
        const turn = { waiting: each, served: start };
        start += each.work;
        return turn;
      });
    });
    return starts.sort((a, b) => (isBefore(a, b) ? -1 : 1)).map(({ waiting: { item } }) => item);
  }

  /** Takes an item out to be served, whether or not it is the next, and counts its work as its client's. */
  take(item: Item): void {
    const client = this.#clients.get(item);
    const work = this.#removed(item);
    const line = this.#lines.get(client);
    if (work === undefined || line === undefined) return;
    this.#level = Math.max(this.#level, line.served);
    line.served += work;
    this.#forgetOthers();
  }

  /** Takes an item out that is not served: its client left. @returns whether it waited. */
  withdraw(item: Item): boolean {
    return this.#removed(item) !== undefined;
  }

  /** @returns the work of the item; `undefined` where it does not wait. */
  #removed(item: Item): number | undefined {
    const waiting = this.#lines.get(this.#clients.get(item))?.waiting;
    const index = waiting?.findIndex((each) => each.item === item) ?? -1;
    if (waiting === undefined || index === -1) return undefined;
    this.#clients.delete(item);
    return waiting.splice(index, 1)[0]?.work;
  }

  /** Forgets clients that wait for nothing and have no more than the others, so that their number stays bounded. */
  #forgetOthers(): void {
    for (const [client, { waiting, served }] of this.#lines)
      if (waiting.length === 0 && served <= this.#level) this.#lines.delete(client);
  }
}

interface Turn {
  readonly waiting: { readonly arrival: number };
  readonly served: number;
}

function isBefore(one: Turn, other: Turn): boolean {
  return one.served === other.served ? one.waiting.arrival < other.waiting.arrival : one.served < other.served;
}
