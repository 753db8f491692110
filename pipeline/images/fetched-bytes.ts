import { type ByteBudget, FixedByteBudget } from './byte-budget.ts';
import { WaitingBytes } from './waiting-bytes.ts';

/** Most images have no more bytes, so that one step is enough for them. */
const FIRST_STEP_BYTES = 262_144;

/** Encoded images from the network, in the process. */
export const MAX_FETCHED_BYTES = 600_000_000;

/** Ends the waiting for one memory when there is the other. Made once, because errors with a stack take long to make. */
const hasOtherMemory = new Error('There is other memory.');

/**
 * The memory of encoded images that arrive. An image counts with the bytes that have come, rounded up by at most as many
 * again, so that hosts that send nothing hold up nobody.
 *
 * Images that each hold a part and wait for more could wait for each other for ever. So one image of each client may go
 * beyond the budget, and arrive whole: there is always one that ends, and gives its memory to the others.
 */
export class FetchedByteBudget {
  readonly #budget: ByteBudget;
  readonly #waiting: WaitingBytes;
  readonly #beyondByClient = new Map<string | undefined, ByteBudget>();

  constructor(budget: ByteBudget = new FixedByteBudget(MAX_FETCHED_BYTES), waiting = new WaitingBytes()) {
    this.#budget = budget;
    this.#waiting = waiting;
  }

  /** The memory of one image, which holds nothing yet. */
  open(client: string | undefined, signal: AbortSignal | undefined): FetchedBytes {
    const beyond = this.#beyondByClient.get(client) ?? new FixedByteBudget(1);
    this.#beyondByClient.set(client, beyond);
    return new FetchedBytes({ within: this.#budget, beyond, waiting: this.#waiting }, { client, signal });
  }
}

/** Whose image it is, and what ends its waiting. */
interface ImageOwner {
  readonly client: string | undefined;
  readonly signal: AbortSignal | undefined;
}

/** Where an image's memory comes from. */
interface Memory {
  readonly within: ByteBudget;
  readonly beyond: ByteBudget;
  readonly waiting: WaitingBytes;
}

/** The memory that one encoded image holds. */
export class FetchedBytes {
  readonly #memory: Memory;
  readonly #client: string | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #releases: (() => void)[] = [];
  #heldBytes = 0;

  constructor(memory: Memory, { client, signal }: ImageOwner) {
    this.#memory = memory;
    this.#client = client;
    this.#signal = signal;
  }

  /** Whether `growTo` would wait or take memory. */
  has(byteCount: number): boolean {
    return byteCount <= this.#heldBytes;
  }

  /**
   * Holds at least so many bytes, as soon as there is room.
   * @param mostBytes that the image can have.
   * @throws the signal's reason.
   */
  async growTo(byteCount: number, mostBytes: number): Promise<void> {
    if (this.has(byteCount)) return;
    const step = Math.max(byteCount, Math.min(mostBytes, Math.max(FIRST_STEP_BYTES, 2 * this.#heldBytes)));
    this.#heldBytes = await this.#take(step);
  }

  /**
   * Leaves the memory to images that are to be fetched, because this one waits for them. From here on its bytes count
   * among those that wait. Nothing changes where it came with a request.
   * @throws HandlerError `OVERLOADED`.
   */
  waitForOthers(byteCount: number): void {
    if (this.#heldBytes === 0) return;
    const release = this.#memory.waiting.hold(byteCount, this.#client);
    this.release();
    this.#releases.push(release);
  }

  /** Gives everything back. Further calls change nothing. */
  release(): void {
    for (const release of this.#releases.splice(0)) release();
  }

  /** @returns how many bytes are held then. */
  async #take(byteCount: number): Promise<number> {
    const first = new AbortController();
    const signal = this.#signal === undefined ? first.signal : AbortSignal.any([first.signal, this.#signal]);
    const hold = async (acquired: Promise<() => void>, heldBytes: number): Promise<number> => {
      const release = await acquired;
      if (first.signal.aborted) release();
      else this.#releases.push(release);
      first.abort(hasOtherMemory);
      return heldBytes;
    };
    const within = hold(this.#memory.within.acquire(byteCount - this.#heldBytes, signal, this.#client), byteCount);
    const beyond = hold(this.#memory.beyond.acquire(1, signal), Number.POSITIVE_INFINITY);
    within.catch(() => undefined);
    beyond.catch(() => undefined);
    // The other one is given up, or given back.
    return await Promise.any([within, beyond]).catch(() => {
      this.#signal?.throwIfAborted();
      throw new Error('Neither budget has room for the image.');
    });
  }
}
