import { FairQueue } from '../fair-queue.ts';
import { releaseImages } from '../images/held-images.ts';
import type { RgbImage } from '../images/rgb-image.ts';
import type { BatchRunner } from './batch-runner.ts';

/** How a batch is run: until when it may wait, and whom to tell. */
export interface RunOptions {
  /** While the batch waits, it leaves when this aborts; while it pauses between two runs, it is dropped. */
  readonly signal?: AbortSignal | undefined;
  /** Whose batch it is: clients take turns. */
  readonly client?: string | undefined;
  /** The cost of the batch, in a unit that all batches share. */
  readonly work?: number;
  /** Called when a worker takes the batch. */
  readonly computing?: (() => void) | undefined;
}

interface WaitingRun {
  readonly client: string | undefined;
  readonly start: () => void;
}

/**
 * Runs batches one after the other as workers become idle. Clients take turns by work; one client's batches run in the
 * order in which they came.
 */
export class RunQueue<Batch extends { readonly images: readonly RgbImage[] }, Result> {
  readonly #runner: BatchRunner<Batch, Result>;
  readonly #waiting = new FairQueue<WaitingRun>();

  constructor(runner: BatchRunner<Batch, Result>) {
    this.#runner = runner;
    runner.onRoom(() => this.#dispatch());
  }

  /**
   * Runs a batch. The memory of its images is given back whatever comes of it.
   * @throws the reason of the signal, when it aborts before the batch runs.
   */
  async run(batch: Batch, options: RunOptions = {}): Promise<{ readonly result: Result; readonly queueMs: number }> {
    try {
      return await this.#runInTurn(batch, options);
    } finally {
      releaseImages(batch.images);
    }
  }

  #runInTurn(
    batch: Batch,
    { signal, client, work = 1, computing }: RunOptions,
  ): Promise<{ readonly result: Result; readonly queueMs: number }> {
    const arrivedMs = performance.now();
    return new Promise((resolve, reject) => {
      const start = () => {
        signal?.removeEventListener('abort', withdraw); // It would keep the pixels as long as the signal lives.
        const queueMs = performance.now() - arrivedMs;
        computing?.();
        const owners = { clients: [client], isWanted: () => signal?.aborted !== true };
        this.#runner.run(batch, owners).then(
          (result) => resolve({ result, queueMs }),
          (error: unknown) => reject(signal?.aborted ? signal.reason : error),
        );
      };
      const waiting = { client, start };
      const withdraw = () => {
        this.#waiting.withdraw(waiting);
        reject(signal?.reason);
      };
      if (signal?.aborted) return reject(signal.reason);
      this.#waiting.add(waiting, client, work);
      signal?.addEventListener('abort', withdraw, { once: true });
      this.#dispatch();
    });
  }

  /** Starts batches in the same turn of the event loop: a worker that is taken leaves no room for the next. */
  #dispatch(): void {
    while (this.#waiting.size > 0 && this.#runner.hasRoom()) {
      const next = this.#waiting.inTurn().find(({ client }) => this.#runner.hasRoomFor(client));
      if (next === undefined) return;
      this.#waiting.take(next);
      next.start();
    }
  }
}
