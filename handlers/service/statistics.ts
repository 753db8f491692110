import type InferlessModel from '../../app.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { MODEL_VERSION } from '../../protocol/metadata.ts';

const NANOSECONDS_PER_MILLISECOND = 1e6;

/** Times that something happened, and nanoseconds that it took in all. */
interface Duration {
  count: number;
  ns: number;
}

/** A model's statistics, as Triton has them. Source: docs/protocol/extension_statistics.md. */
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

/** Of the batches of one size. Their images come and go with their requests, so that only computing takes time here. */
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

/** Observes a model from here on. @returns what it did so far. */
export function collectStatistics(observed: InferlessModel): () => ModelStatistics {
  const stages = {
    success: noDuration(),
    fail: noDuration(),
    queue: noDuration(),
    compute_input: noDuration(),
    compute_infer: noDuration(),
    compute_output: noDuration(),
    cache_hit: noDuration(),
    cache_miss: noDuration(),
  };
  const batches = new Map<number, Duration>();
  let lastInference = 0;
  observed.observe({
    batchDone(itemCount, durationMs) {
      const batch = batches.get(itemCount) ?? noDuration();
      add(batch, durationMs);
      batches.set(itemCount, batch);
    },
    done(outcome, durationMs) {
      lastInference = Date.now();
      if (outcome instanceof HandlerError) return add(stages.fail, durationMs);
      const { fetchMs, decodeMs, resizeMs, queueMs, computeMs } = outcome.times;
      add(stages.success, durationMs);
      add(stages.queue, queueMs);
      add(stages.compute_input, fetchMs + decodeMs + resizeMs);
      add(stages.compute_infer, computeMs);
      add(stages.compute_output, 0);
    },
  });
  return () => {
    const sizes = [...batches].sort(([one], [other]) => one - other);
    return {
      name: observed.name ?? '',
      version: MODEL_VERSION,
      last_inference: lastInference,
      inference_count: sizes.reduce((sum, [size, { count }]) => sum + size * count, 0),
      execution_count: sizes.reduce((sum, [, { count }]) => sum + count, 0),
      inference_stats: structuredClone(stages),
      batch_stats: sizes.map(([size, duration]) => batchStatistics(size, duration)),
    };
  };
}

function batchStatistics(size: number, { count, ns }: Readonly<Duration>): BatchStatistics {
  const none = { count, ns: 0 };
  return { batch_size: size, compute_input: none, compute_infer: { count, ns }, compute_output: none };
}
