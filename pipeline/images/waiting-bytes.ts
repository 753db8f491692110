import { HandlerError } from '../../protocol/errors.ts';
import { once } from './byte-budget.ts';

type Client = string | undefined;

/** Of the process. */
const MAX_WAITING_BYTES = 600_000_000;

/**
 * The memory of encoded images that are there and wait for the others of their requests. Nobody waits for this memory,
 * because whoever holds a part of it waits for images that need a part too. What finds no room is refused. One client
 * alone may have all of it; when others come, each may have an equal part beside it.
 */
export class WaitingBytes {
  readonly #maxBytes: number;
  readonly #heldByClient = new Map<Client, number>();
  #heldBytes = 0;

  constructor(maxBytes: number = MAX_WAITING_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /**
   * Counts the bytes of an image.
   * @returns the function that ends it; further calls change nothing.
   * @throws HandlerError `OVERLOADED`.
   */
  hold(byteCount: number, client: Client): () => void {
    const held = this.#heldByClient.get(client) ?? 0;
    if (this.#heldBytes + byteCount > this.#maxBytes && held + byteCount > this.#shareOf(client))
      throw new HandlerError(
        'OVERLOADED',
        `Expected images that wait for the others of their requests to have at most ${this.#maxBytes} bytes, got more. ` +
          'Send fewer in one request, or try again soon.',
      );
    this.#count(byteCount, client);
    return once(() => this.#count(-byteCount, client));
  }

  #shareOf(client: Client): number {
    const others = [...this.#heldByClient.keys()].filter((each) => each !== client).length;
    return this.#maxBytes / (others + 1);
  }

  #count(byteCount: number, client: Client): void {
    this.#heldBytes += byteCount;
    const held = (this.#heldByClient.get(client) ?? 0) + byteCount;
    if (held > 0) this.#heldByClient.set(client, held);
    else this.#heldByClient.delete(client);
  }
}
