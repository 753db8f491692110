import { FairQueue } from '../../fair-queue.ts';
import { once } from '../byte-budget.ts';

/** Work that wants a slot. */
export interface SlotCall {
  readonly client?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Clients take turns by it; in any unit that all work of the same slots shares. */
  readonly cost: number;
}

interface Claim {
  readonly client: string | undefined;
  readonly take: () => void;
}

/**
 * A number of slots for work that cannot be stopped. Clients take turns, and no named client ever has all slots, so that
 * another one's work begins at once. A client without a name is the only one of its server, and may have all.
 */
export class FairSlots {
  readonly #slots: number;
  readonly #slotsPerClient: number;
  readonly #waiting = new FairQueue<Claim>();
  readonly #running = new Map<string | undefined, number>();
  /** Of all clients. */
  #runningCount = 0;

  /** @param slots at least 1. A named client has at most one slot fewer, where there are several. */
  constructor(slots: number, slotsPerClient: number = Math.max(1, slots - 1)) {
    this.#slots = slots;
    this.#slotsPerClient = slotsPerClient;
  }

  /**
   * Has a slot while the work runs. The signal ends the wait alone.
   * @throws the signal's reason while it waits; what the work throws.
   */
  async run<T>(call: SlotCall, work: () => Promise<T>): Promise<T> {
    const leave = await this.enter(call);
    try {
      return await work();
    } finally {
      leave();
    }
  }

  /**
   * Waits for a slot.
   * @returns the function that gives it back; further calls change nothing.
   * @throws the signal's reason while it waits.
   */
  async enter(call: SlotCall): Promise<() => void> {
    call.signal?.throwIfAborted();
    if (this.#waiting.size === 0 && this.#mayTake(call)) this.#takeAtOnce(call);
    else await this.#waitForTurn(call);
    return once(() => this.#leave(call.client));
  }

  /** Takes a free slot that nobody waits for. It counts as a turn of the client all the same. */
  #takeAtOnce({ client, cost }: SlotCall): void {
    const claim = { client, take: () => undefined };
    this.#waiting.add(claim, client, cost);
    this.#waiting.take(claim);
    this.#take(claim);
  }

  #waitForTurn({ client, signal, cost }: SlotCall): Promise<void> {
    return new Promise((resolve, reject) => {
      const withdraw = () => {
        this.#waiting.withdraw(claim);
        reject(signal?.reason);
      };
      const take = () => {
        signal?.removeEventListener('abort', withdraw);
        resolve();
      };
      const claim = { client, take };
      this.#waiting.add(claim, client, cost);
      signal?.addEventListener('abort', withdraw, { once: true });
      this.#serve();
    });
  }

  #serve(): void {
    for (let next = this.#nextClaim(); next !== undefined; next = this.#nextClaim()) {
      this.#waiting.take(next);
      this.#take(next);
      next.take();
    }
  }

  /** The claim whose turn it is, of the clients that may have one more slot. */
  #nextClaim(): Claim | undefined {
    if (this.#runningCount >= this.#slots) return undefined;
    const next = this.#waiting.next();
    if (next === undefined || this.#mayTake(next)) return next;
    return this.#waiting.inTurn().find((claim) => this.#mayTake(claim));
  }

  #take({ client }: { readonly client?: string | undefined }): void {
    this.#running.set(client, this.#runningOf(client) + 1);
    this.#runningCount += 1;
  }

  #mayTake({ client }: { readonly client?: string | undefined }): boolean {
    if (this.#runningCount >= this.#slots) return false;
    return this.#runningOf(client) < (client === undefined ? this.#slots : this.#slotsPerClient);
  }

  #runningOf(client: string | undefined): number {
    return this.#running.get(client) ?? 0;
  }

  #leave(client: string | undefined): void {
    this.#runningCount -= 1;
    const left = this.#runningOf(client) - 1;
    if (left > 0) this.#running.set(client, left);
    else this.#running.delete(client);
    this.#serve();
  }
}
