import type Handler from '../../app.ts';
import type { TensorAnswer } from '../../pipeline/infer-request.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { MODEL_VERSION } from '../../protocol/metadata.ts';

const NANOSECONDS_PER_MILLISECOND = 1e6;

/** How often something happened, and the nanoseconds that it took in total. */
interface Duration {
  count: number;
  ns: number;
}

/** The statistics of a model in Triton's form. Source: docs/protocol/extension_statistics.md. */
export interface ModelStatistics {
  readonly name: string;
  readonly version: string;
  /** Milliseconds since 1970 of the last request; 0 for none. */
  readonly last_inference: number;
  /** Items computed. */
  readonly inference_count: number;
  /** Batches computed. */
  readonly execution_count: number;
  readonly inference_stats: Readonly<Record<string, Readonly<Duration>>>;
  readonly batch_stats: readonly BatchStatistics[];
}

/** The batches of one size. Only computing takes time here, because images are read and sent with their requests. */
interface BatchStatistics {
  readonly batch_size: number;
  readonly compute_input: Readonly<Duration>;
  readonly compute_infer: Readonly<Duration>;
  readonly compute_output: Readonly<Duration>;
}

const noDuration = (): Duration => ({ count: 0, ns: 0 });

function add(duration: Duration, milliseconds: number): void {
  duration.count += 1;
  duration.ns += Math.round(milliseconds * NANOSECONDS_PER_MILLISECOND);
}

const noStages = () => ({
  success: noDuration(),
  fail: noDuration(),
  queue: noDuration(),
  compute_input: noDuration(),
  compute_infer: noDuration(),
  compute_output: noDuration(),
  cache_hit: noDuration(),
  cache_miss: noDuration(),
});

/** The statistics of one model, from here on. */
export class StatisticsCollector {
  readonly #model: Handler;
  readonly #stages = noStages();
  readonly #batches = new Map<number, Duration>();
  #lastInferenceMs = 0;

  constructor(model: Handler) {
    this.#model = model;
    model.observe({
      batchDone: (itemCount, durationMs) => this.#addBatch(itemCount, durationMs),
      done: (outcome, durationMs) => this.#addRequest(outcome, durationMs),
    });
  }

  /** The statistics until now. */
  collect(): ModelStatistics {
    const sizes = [...this.#batches].sort(([one], [other]) => one - other);
    return {
      name: this.#model.name ?? '',
      version: MODEL_VERSION,
      last_inference: this.#lastInferenceMs,
      inference_count: sizes.reduce((sum, [size, { count }]) => sum + size * count, 0),
      execution_count: sizes.reduce((sum, [, { count }]) => sum + count, 0),
      inference_stats: structuredClone(this.#stages),
      batch_stats: sizes.map(([size, duration]) => batchStatistics(size, duration)),
    };
  }

  #addBatch(itemCount: number, durationMs: number): void {
    const batch = this.#batches.get(itemCount) ?? noDuration();
    add(batch, durationMs);
    this.#batches.set(itemCount, batch);
  }

  #addRequest(outcome: TensorAnswer | HandlerError, durationMs: number): void {
    this.#lastInferenceMs = Date.now();
    if (outcome instanceof HandlerError) {
      add(this.#stages.fail, durationMs);
      return;
    }
    const { fetchMs, decodeMs, resizeMs, queueMs, computeMs } = outcome.times;
    add(this.#stages.success, durationMs);
    add(this.#stages.queue, queueMs);
    add(this.#stages.compute_input, fetchMs + decodeMs + resizeMs);
    add(this.#stages.compute_infer, computeMs);
    add(this.#stages.compute_output, 0);
  }
}

function batchStatistics(size: number, { count, ns }: Readonly<Duration>): BatchStatistics {
  const none = { count, ns: 0 };
  return { batch_size: size, compute_input: none, compute_infer: { count, ns }, compute_output: none };
}
