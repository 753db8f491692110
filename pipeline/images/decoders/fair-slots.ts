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
    await this.#waitForTurn(call);
    return once(() => this.#leave(call.client));
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
      this.#running.set(next.client, this.#runningOf(next.client) + 1);
      next.take();
    }
  }

  /** The claim whose turn it is, of the clients that may have one more slot. */
  #nextClaim(): Claim | undefined {
    const runningCount = [...this.#running.values()].reduce((sum, count) => sum + count, 0);
    if (runningCount >= this.#slots) return undefined;
    const next = this.#waiting.next();
    if (next === undefined || this.#mayTake(next)) return next;
    return this.#waiting.inTurn().find((claim) => this.#mayTake(claim));
  }

  #mayTake({ client }: Claim): boolean {
    return this.#runningOf(client) < (client === undefined ? this.#slots : this.#slotsPerClient);
  }

  #runningOf(client: string | undefined): number {
    return this.#running.get(client) ?? 0;
  }

  #leave(client: string | undefined): void {
    const left = this.#runningOf(client) - 1;
    if (left > 0) this.#running.set(client, left);
    else this.#running.delete(client);
    this.#serve();
  }
}
