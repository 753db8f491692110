import { HandlerError } from '../../protocol/errors.ts';

/** The bytes of request bodies that a process holds: those that arrive, and those whose requests wait for their answers. */
export class BodyBudget {
  readonly #maxBytes: number;
  readonly #maxClientBytes: number;
  readonly #bytesOfClients = new Map<string, number>();
  #bytes = 0;

  /** @param maxClientBytes the most bytes of one client. */
  constructor(maxBytes: number, maxClientBytes: number = maxBytes) {
    this.#maxBytes = maxBytes;
    this.#maxClientBytes = maxClientBytes;
  }

  /** The bytes of one request of a client: none yet. */
  open(client: string): HeldBytes {
    return new HeldBytes((bytes) => this.#add(client, bytes));
  }

  /** @throws HandlerError `OVERLOADED`; nothing is added then. */
  #add(client: string, bytes: number): void {
    const clientBytes = (this.#bytesOfClients.get(client) ?? 0) + bytes;
    if (bytes > 0 && (this.#bytes + bytes > this.#maxBytes || clientBytes > this.#maxClientBytes)) {
      throw new HandlerError(
        'OVERLOADED',
        'Expected less than BLIP_MAX_HELD_BODY_BYTES to arrive and wait at a time, got more. Try again later.',
      );
    }
    this.#bytes += bytes;
    if (clientBytes > 0) this.#bytesOfClients.set(client, clientBytes);
    else this.#bytesOfClients.delete(client);
  }
}

/** The bytes of one request's body that the process holds. */
export class HeldBytes {
  readonly #add: (bytes: number) => void;
  #bytes = 0;
  #isReleased = false;

  /** @param add adds bytes to the budget, or takes them from it if they are negative. */
  constructor(add: (bytes: number) => void) {
    this.#add = add;
  }

  /**
   * Counts bytes that have arrived. Bytes that come after the release count no more: nobody keeps them.
   * @throws HandlerError `OVERLOADED`.
   */
  hold(bytes: number): void {
    if (this.#isReleased) return;
    this.#add(bytes);
    this.#bytes += bytes;
  }

  /** Gives all bytes back, of a message that was read. Those of the next one count again. */
  clear(): void {
    this.#add(-this.#bytes);
    this.#bytes = 0;
  }

  /** Gives all bytes back. Calls after the first do nothing. */
  release(): void {
    this.#isReleased = true;
    this.clear();
  }
}
