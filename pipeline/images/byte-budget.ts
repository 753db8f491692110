import { HandlerError } from '../../protocol/errors.ts';
import { FairQueue } from '../fair-queue.ts';

/** Bytes that may be held at a time: docs/decisions/0012-memory-and-tokens.md. */
export interface ByteBudget {
  /** Whether `acquire` waits until other images have asked too. They must be able to be loaded meanwhile. */
  readonly isJoint?: true;
  /** The most bytes that it ever has; without it there is no bound. */
  readonly capacityBytes?: number;
  /**
   * Waits until so many bytes are free, and takes them. Clients take turns by bytes; one client's claims are served in
   * their order.
   * @param client whose bytes they are.
   * @returns the function that gives them back; further calls change nothing.
   * @throws HandlerError `IMAGE_TOO_LARGE` when the budget never has so many; the signal's reason when it aborts before
   *   the bytes are taken.
   */
  acquire(byteCount: number, signal?: AbortSignal, client?: string): Promise<() => void>;
}

interface Claim {
  readonly byteCount: number;
  readonly take: () => void;
}

/** A budget of a fixed number of bytes. */
export class FixedByteBudget implements ByteBudget {
  readonly capacityBytes: number;
  #freeBytes: number;
  readonly #turns = new FairQueue<Claim>();

  constructor(capacityBytes: number) {
    this.capacityBytes = capacityBytes;
    this.#freeBytes = capacityBytes;
  }

  async acquire(byteCount: number, signal?: AbortSignal, client?: string): Promise<() => void> {
    if (byteCount > this.capacityBytes) throw tooMuch(byteCount, this.capacityBytes);
    signal?.throwIfAborted();
    await this.#waitFor(byteCount, signal, client);
    return once(() => this.#release(byteCount));
  }

  #waitFor(byteCount: number, signal: AbortSignal | undefined, client: string | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const withdraw = () => {
        this.#turns.withdraw(claim);
        reject(signal?.reason);
        this.#serve(); // Those behind it may need less.
      };
      const take = () => {
        signal?.removeEventListener('abort', withdraw);
        resolve();
      };
      const claim = { byteCount, take };
      this.#turns.add(claim, client, byteCount);
      signal?.addEventListener('abort', withdraw, { once: true });
      this.#serve();
    });
  }

  /** Serves the claim whose turn it is, as long as it fits. Others do not overtake it, or a large one would starve. */
  #serve(): void {
    for (
      let next = this.#turns.next();
      next !== undefined && next.byteCount <= this.#freeBytes;
      next = this.#turns.next()
    ) {
      this.#turns.take(next);
      this.#freeBytes -= next.byteCount;
      next.take();
    }
  }

  #release(byteCount: number): void {
    this.#freeBytes += byteCount;
    this.#serve();
  }
}

/** A function that acts at its first call only. */
export function once(act: () => void): () => void {
  let isDone = false;
  return () => {
    if (!isDone) act();
    isDone = true;
  };
}

function tooMuch(byteCount: number, capacityBytes: number): HandlerError {
  return new HandlerError(
    'IMAGE_TOO_LARGE',
    `Expected the images that are needed at once to take at most ${capacityBytes} bytes decoded, got ${byteCount}.`,
  );
}
