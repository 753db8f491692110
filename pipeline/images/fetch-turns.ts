import { once } from './byte-budget.ts';

/** How many fetches may be open at a time. */
export interface FetchLimits {
  readonly perProcess: number;
  readonly perClient: number;
  /** Of one client, at one host. */
  readonly perHost: number;
  /** So many a client may open however many others there are, so that none waits for the slow hosts of another. */
  readonly assured: number;
}

export const fetchLimits: FetchLimits = { perProcess: 256, perClient: 128, perHost: 32, assured: 4 };

interface Waiting {
  readonly host: string;
  readonly take: () => void;
}

/** One client's fetches. */
interface ClientFetches {
  openCount: number;
  readonly openByHost: Map<string, number>;
  /** The first asked first. */
  readonly waiting: Set<Waiting>;
}

/**
 * Says which fetch begins next. The clients take turns, and each one's fetches come in their order, but one that waits
 * for a busy host lets others pass. An open fetch holds a connection and few bytes, so many may be open.
 */
export class FetchTurns {
  readonly #limits: FetchLimits;
  /** The client that had its turn last comes last. */
  readonly #clients = new Map<string | undefined, ClientFetches>();
  #openCount = 0;

  constructor(limits: FetchLimits = fetchLimits) {
    this.#limits = limits;
  }

  /** Fetches that are open. */
  get openCount(): number {
    return this.#openCount;
  }

  /**
   * Waits for a turn to fetch from a host.
   * @returns the function that ends the turn; further calls change nothing.
   * @throws the signal's reason.
   */
  async take(client: string | undefined, host: string, signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const { waiting } = this.#require(client);
      const withdraw = () => {
        waiting.delete(one);
        this.#forget(client);
        reject(signal?.reason);
      };
      const one: Waiting = {
        host,
        take: () => {
          signal?.removeEventListener('abort', withdraw);
          resolve();
        },
      };
      waiting.add(one);
      signal?.addEventListener('abort', withdraw, { once: true });
      this.#serve();
    });
    return once(() => this.#end(client, host));
  }

  #require(client: string | undefined): ClientFetches {
    const fetches = this.#clients.get(client) ?? { openCount: 0, openByHost: new Map(), waiting: new Set() };
    this.#clients.set(client, fetches);
    return fetches;
  }

  /** Begins fetches, one of each client by turns, until none may begin. */
  #serve(): void {
    let isServing = true;
    while (isServing) {
      isServing = false;
      for (const [client, fetches] of [...this.#clients]) {
        const next = this.#nextOf(fetches);
        if (next === undefined) continue;
        this.#begin(client, fetches, next);
        isServing = true;
      }
    }
  }

  #nextOf({ openCount, openByHost, waiting }: ClientFetches): Waiting | undefined {
    const { perProcess, perClient, perHost, assured } = this.#limits;
    if (openCount >= perClient || (this.#openCount >= perProcess && openCount >= assured)) return undefined;
    for (const one of waiting) if ((openByHost.get(one.host) ?? 0) < perHost) return one;
    return undefined;
  }

  #begin(client: string | undefined, fetches: ClientFetches, next: Waiting): void {
    fetches.waiting.delete(next);
    fetches.openCount += 1;
    fetches.openByHost.set(next.host, (fetches.openByHost.get(next.host) ?? 0) + 1);
    this.#openCount += 1;
    this.#clients.delete(client);
    this.#clients.set(client, fetches);
    next.take();
  }

  #end(client: string | undefined, host: string): void {
    const fetches = this.#require(client);
    fetches.openCount -= 1;
    this.#openCount -= 1;
    const ofHost = (fetches.openByHost.get(host) ?? 1) - 1;
    if (ofHost === 0) fetches.openByHost.delete(host);
    else fetches.openByHost.set(host, ofHost);
    this.#forget(client);
    this.#serve();
  }

  #forget(client: string | undefined): void {
    const fetches = this.#clients.get(client);
    if (fetches?.openCount === 0 && fetches.waiting.size === 0) this.#clients.delete(client);
  }
}
