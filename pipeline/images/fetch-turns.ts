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
  /** The number of its last turn. */
  lastTurn: number;
}

function isBefore(one: ClientFetches, other: ClientFetches): boolean {
  return one.openCount === other.openCount ? one.lastTurn < other.lastTurn : one.openCount < other.openCount;
}

/**
 * Says which fetch begins next. The clients take turns, and each one's fetches come in their order, but one that waits
 * for a busy host lets others pass. An open fetch holds a connection and few bytes, so many may be open.
 */
export class FetchTurns {
  readonly #limits: FetchLimits;
  readonly #clients = new Map<string | undefined, ClientFetches>();
  #openCount = 0;
  #turnCount = 0;

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
    await new Promise<void>((resolve, reject) => this.#wait(client, host, signal, resolve, reject));
    return once(() => this.#end(client, host));
  }

  #wait(
    client: string | undefined,
    host: string,
    signal: AbortSignal | undefined,
    resolve: () => void,
    reject: (reason: unknown) => void,
  ): void {
    const { waiting } = this.#require(client);
    const one = { host, take: resolve };
    waiting.add(one);
    this.#serve();
    if (!waiting.has(one) || signal === undefined) return;
    const withdraw = () => {
      if (waiting.delete(one)) reject(signal.reason);
      this.#forget(client);
    };
    // A signal of its own, because Node warns of a signal that many images of one request listen to.
    AbortSignal.any([signal]).addEventListener('abort', withdraw, { once: true });
  }

  #require(client: string | undefined): ClientFetches {
    const fetches = this.#clients.get(client) ?? {
      openCount: 0,
      openByHost: new Map(),
      waiting: new Set(),
      lastTurn: 0,
    };
    this.#clients.set(client, fetches);
    return fetches;
  }

  /** Begins fetches until none may begin. */
  #serve(): void {
    for (let next = this.#choose(); next !== undefined; next = this.#choose()) this.#begin(next.fetches, next.waiting);
  }

  /** The next fetch of the client that has the fewest open, and among equals of the one whose turn is longest ago. */
  #choose(): { readonly fetches: ClientFetches; readonly waiting: Waiting } | undefined {
    let chosen: { readonly fetches: ClientFetches; readonly waiting: Waiting } | undefined;
    for (const fetches of this.#clients.values()) {
      const waiting = chosen === undefined || isBefore(fetches, chosen.fetches) ? this.#nextOf(fetches) : undefined;
      if (waiting !== undefined) chosen = { fetches, waiting };
    }
    return chosen;
  }

  #nextOf({ openCount, openByHost, waiting }: ClientFetches): Waiting | undefined {
    const { perProcess, perClient, perHost, assured } = this.#limits;
    if (openCount >= perClient || (this.#openCount >= perProcess && openCount >= assured)) return undefined;
    for (const one of waiting) if ((openByHost.get(one.host) ?? 0) < perHost) return one;
    return undefined;
  }

  #begin(fetches: ClientFetches, waiting: Waiting): void {
    const { host, take } = waiting;
    fetches.waiting.delete(waiting);
    fetches.openCount += 1;
    fetches.openByHost.set(host, (fetches.openByHost.get(host) ?? 0) + 1);
    this.#openCount += 1;
    this.#turnCount += 1;
    fetches.lastTurn = this.#turnCount;
    take();
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
