import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { Log } from './log.ts';

/** Descriptors that connections leave to images, models and logs. */
const RESERVED_DESCRIPTORS = 128;
/** A process that may open hardly any file still serves so many connections. */
const MIN_CONNECTIONS = 16;
/** A full server says so at most this often. */
const LOG_INTERVAL_MS = 10_000;

/**
 * The most connections of one server: as many as the settings allow, or fewer where the process may open fewer files. At
 * the limit of files, the kernel would reset connections without a word in the log.
 * @param serverCount the servers of the process, which share its files.
 */
export function connectionLimit(maxConnections: number, serverCount: number): number {
  const share = Math.floor((descriptorLimit() - RESERVED_DESCRIPTORS) / serverCount);
  return Math.min(maxConnections, Math.max(MIN_CONNECTIONS, share));
}

/** The most files that this process may open, where Linux says it. */
function descriptorLimit(): number {
  try {
    const [, limit] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
    return limit === undefined ? Number.POSITIVE_INFINITY : Number(limit);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

/** The name of a connection: the address and port of its other end; `undefined` once it is closed. */
export function peerOf({
  remoteAddress,
  remotePort,
}: Pick<Socket, 'remoteAddress' | 'remotePort'>): string | undefined {
  return remoteAddress === undefined ? undefined : `${remoteAddress}:${remotePort}`;
}

/**
 * The connections of one server. At their maximum, the one that has been idle for longest gives way to a new one, so that
 * strangers who hold connections open keep nobody out. A connection is idle while none of its requests is answered.
 */
export class ConnectionTable {
  readonly #maximum: number;
  readonly #log: Pick<Log, 'warn'>;
  readonly #sockets = new Map<string, Socket>();
  /** Names of idle connections, the longest idle first. */
  readonly #idle = new Set<string>();
  /** Requests that are being answered, by connection. */
  readonly #running = new Map<string, number>();
  #closedCount = 0;
  #loggedMs = Number.NEGATIVE_INFINITY;

  constructor(maximum: number, log: Pick<Log, 'warn'>) {
    this.#maximum = maximum;
    this.#log = log;
  }

  /** Counts a new connection, and closes another one, or this one, where there are too many. */
  add(socket: Socket): void {
    const peer = peerOf(socket);
    if (peer === undefined) return void socket.destroy(); // Its other end has left.
    this.#sockets.set(peer, socket);
    this.#idle.add(peer);
    socket.once('close', () => this.#remove(peer, socket));
    if (this.#sockets.size > this.#maximum) this.#closeLongestIdle();
  }

  /** A request of this connection is being answered. */
  begin(peer: string): void {
    this.#running.set(peer, (this.#running.get(peer) ?? 0) + 1);
    this.#idle.delete(peer);
  }

  /** A request that `begin` counted was answered, or its client has left. */
  end(peer: string): void {
    const others = (this.#running.get(peer) ?? 1) - 1;
    if (others > 0) {
      this.#running.set(peer, others);
      return;
    }
    this.#running.delete(peer);
    if (this.#sockets.has(peer)) this.#idle.add(peer);
  }

  /** Whether a request of this connection is being answered. */
  isAnswering(socket: Socket): boolean {
    return this.#running.has(peerOf(socket) ?? '');
  }

  /** All connections that are open. */
  sockets(): IterableIterator<Socket> {
    return this.#sockets.values();
  }

  /** Resolves when every connection that is open now is closed. */
  async closed(): Promise<void> {
    await Promise.all([...this.#sockets.values()].map((socket) => socket.closed || once(socket, 'close')));
  }

  #remove(peer: string, socket: Socket): void {
    if (this.#sockets.get(peer) !== socket) return;
    this.#sockets.delete(peer);
    this.#idle.delete(peer);
  }

  /** The newest connection is idle too, as the last one. */
  #closeLongestIdle(): void {
    const [peer = ''] = this.#idle;
    const socket = this.#sockets.get(peer);
    if (socket === undefined) return;
    this.#remove(peer, socket);
    socket.destroy();
    this.#closedCount += 1;
    const nowMs = performance.now();
    if (nowMs - this.#loggedMs < LOG_INTERVAL_MS) return;
    this.#loggedMs = nowMs;
    const closed = this.#closedCount;
    this.#log.warn(
      { maximum: this.#maximum, closed },
      'too many connections: those that are idle for longest are closed',
    );
    this.#closedCount = 0;
  }
}
