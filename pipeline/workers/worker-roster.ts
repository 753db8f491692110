import { HandlerError } from '../../protocol/errors.ts';
import type { InferenceWorker } from './worker-thread.ts';

/** Who of a pool's workers lives, and who of them is idle. Batches wait for a worker, but not for ever. */
export interface WorkerRoster {
  liveCount(): number;
  /** Whether `take` would not have to wait: a worker is idle, or batches are refused. */
  hasRoom(): boolean;
  /** Calls back whenever that becomes so. */
  onRoom(listener: () => void): void;
  /** @throws HandlerError `NOT_READY` when no worker has been alive for so long that batches are refused. */
  requireServing(): void;
  /**
   * Takes an idle worker; there must be room.
   * @throws HandlerError as `requireServing` does.
   */
  take(): InferenceWorker;
  /**
   * Takes the next worker that is idle, before any batch that has not begun.
   * @throws HandlerError as `requireServing` does, also when batches come to be refused meanwhile.
   */
  takeNext(): Promise<InferenceWorker>;
  /** A worker began to live. */
  join(worker: InferenceWorker): void;
  /** A worker is done with its batch, and lives. */
  giveBack(worker: InferenceWorker): void;
  /** A worker ended. */
  leave(worker: InferenceWorker): void;
  /** From here on workers leave because they were told to. */
  close(): void;
}

interface Waiting {
  readonly resolve: (worker: InferenceWorker) => void;
  readonly reject: (error: unknown) => void;
}

/** @param outageLimitMs how long batches wait while no worker lives; then they are refused, until one does. */
export function createWorkerRoster(outageLimitMs: number): WorkerRoster {
  const live = new Set<InferenceWorker>();
  const idle: InferenceWorker[] = [];
  const waiting: Waiting[] = [];
  const outage = createOutage(outageLimitMs, () => {
    for (const { reject } of waiting.splice(0)) reject(noWorker());
    announceRoom();
  });
  const listeners: (() => void)[] = [];
  const announceRoom = () => {
    for (const listener of listeners) listener();
  };
  const offer = (worker: InferenceWorker) => {
    const next = waiting.shift();
    if (next !== undefined) return next.resolve(worker);
    idle.push(worker);
    announceRoom();
  };
  const requireServing = () => {
    if (outage.isTooLong()) throw noWorker();
  };
  return {
    liveCount: () => live.size,
    hasRoom: () => idle.length > 0 || outage.isTooLong(),
    onRoom: (listener) => void listeners.push(listener),
    requireServing,
    take() {
      requireServing();
      const worker = idle.pop();
      if (worker === undefined) throw new Error('Expected an idle worker, got none.');
      return worker;
    },
    async takeNext() {
      requireServing();
      return idle.pop() ?? (await new Promise<InferenceWorker>((resolve, reject) => waiting.push({ resolve, reject })));
    },
    join(worker) {
      outage.end();
      live.add(worker);
      offer(worker);
    },
    giveBack: offer,
    leave(worker) {
      live.delete(worker);
      const place = idle.indexOf(worker);
      if (place !== -1) idle.splice(place, 1);
      if (live.size === 0) outage.begin();
    },
    close: () => outage.close(),
  };
}

function noWorker(): HandlerError {
  return new HandlerError(
    'NOT_READY',
    'Expected a worker thread to be alive, got none: they ended, and no new one has started yet.',
  );
}

/** A time without workers; `onTooLong` is called when it has lasted for `limitMs`. */
function createOutage(limitMs: number, onTooLong: () => void) {
  let timer: NodeJS.Timeout | undefined;
  let isTooLong = false;
  let isClosed = false;
  const end = () => {
    clearTimeout(timer);
    isTooLong = false;
  };
  return {
    isTooLong: () => isTooLong,
    begin() {
      if (isClosed) return;
      timer = setTimeout(() => {
        isTooLong = true;
        onTooLong();
      }, limitMs);
    },
    end,
    close() {
      isClosed = true;
      end();
    },
  };
}
