import type { WeightsChoice } from './sessions/weights-choices.ts';

/**
 * The aim of a process. Each goal stands for defaults of settings, which may still be set one by one:
 * docs/decisions/0036-weights-starts-and-workers.md.
 *
 * - `latency`: one request is answered as soon as possible, with little memory.
 * - `throughput`: many clients get as many answers a second as possible, each of them later.
 */
export const optimizationGoals = ['latency', 'throughput'] as const;

export type OptimizationGoal = (typeof optimizationGoals)[number];

/** The settings that follow from a goal where they are not set. */
export interface GoalDefaults {
  readonly workerCount: number;
  readonly batchWindowMs: number;
  readonly weights: WeightsChoice;
}

/** Each worker has memory of its own for weights and runs, so that a large machine does not get one for each CPU. */
const MAX_WORKERS = 4;

/** The defaults for a goal on a machine with so many CPUs. */
export function goalDefaults(goal: OptimizationGoal, cpuCount: number): GoalDefaults {
  if (goal === 'latency') return { workerCount: 1, batchWindowMs: 5, weights: 'auto' };
  return { workerCount: Math.min(cpuCount, MAX_WORKERS), batchWindowMs: 20, weights: 'packed-when-idle' };
}
