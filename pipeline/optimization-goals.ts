/**
 * The aim of a process. Each goal stands for defaults of settings, which may still be set one by one:
 * docs/decisions/0036-weights-starts-and-workers.md.
 *
 * - `latency`: one request is answered as soon as possible, with little memory.
 * - `throughput`: many clients get as many answers a second as possible, each of them later.
 */
export const optimizationGoals = ['latency', 'throughput'] as const;

export type OptimizationGoal = (typeof optimizationGoals)[number];

/** Milliseconds that a caption waits for others, where `BLIP_BATCH_WINDOW_MS` does not say it. */
export const batchWindowsMs: Readonly<Record<OptimizationGoal, number>> = { latency: 5, throughput: 20 };
