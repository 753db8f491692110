import { releaseImages } from '../images/held-images.ts';
import type { RgbImage } from '../images/rgb-image.ts';
import type { BatchRunner } from './batch-runner.ts';

/** How a batch is run: until when it may wait, and whom to tell. */
export interface RunOptions {
  /** While the batch waits, it leaves when this aborts. */
  readonly signal?: AbortSignal | undefined;
  /** Called when a worker takes the batch. */
  readonly computing?: (() => void) | undefined;
}

/** Runs batches one after the other as workers become idle, in the order in which they came. */
export class RunQueue<Batch extends { readonly images: readonly RgbImage[] }, Result> {
  readonly #runner: BatchRunner<Batch, Result>;
  readonly #waiting: (() => void)[] = [];

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
    { signal, computing }: RunOptions,
  ): Promise<{ readonly result: Result; readonly queueMs: number }> {
    const arrivedMs = performance.now();
    return new Promise((resolve, reject) => {
      const start = () => {
        signal?.removeEventListener('abort', withdraw); // It would keep the pixels as long as the signal lives.
        const queueMs = performance.now() - arrivedMs;
        computing?.();
        this.#runner.run(batch).then((result) => resolve({ result, queueMs }), reject);
      };
      const withdraw = () => {
        this.#waiting.splice(this.#waiting.indexOf(start), 1);
        reject(signal?.reason);
      };
      if (signal?.aborted) return reject(signal.reason);
      this.#waiting.push(start);
      signal?.addEventListener('abort', withdraw, { once: true });
      this.#dispatch();
    });
  }

  /** Starts batches in the same turn of the event loop: a worker that is taken leaves no room for the next. */
  #dispatch(): void {
    while (this.#runner.hasRoom() && this.#waiting.length > 0) this.#waiting.shift()?.();
  }
}
