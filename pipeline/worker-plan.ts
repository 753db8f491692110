import type { OptimizationGoal } from './optimization-goals.ts';

/**
 * How `BLIP_WORKERS=auto` and `BLIP_THREADS=auto` are chosen: docs/decisions/0034-precision-and-devices.md for GPUs,
 * docs/decisions/0036-weights-starts-and-workers.md for CPUs.
 */

/** `auto` follows from the machine, the goal, and where graphs run. */
export type CountChoice = number | 'auto';

/** The settings that the workers of a model follow from. */
export interface WorkerChoices {
  readonly optimizeFor: OptimizationGoal;
  /** Of each device, where there are devices. */
  readonly workerCount: CountChoice;
  readonly threadsPerWorker: CountChoice;
  readonly deviceIds: readonly number[];
}

export interface WorkerPlan {
  /** The workers of all devices. */
  readonly workerCount: number;
  readonly threadsPerWorker: number;
}

/** Each worker has memory of its own for weights and runs, so that a large machine does not get one for each CPU. */
const MAX_WORKERS = 4;

/**
 * The workers of a model on a machine with so many CPUs. On a GPU each worker has a copy of the weights on the card, and
 * one keeps it busy, whatever the goal.
 */
export function planWorkers(choices: WorkerChoices, place: 'cpu' | 'gpu', cpuCount: number): WorkerPlan {
  const { optimizeFor, workerCount: choice, threadsPerWorker: threads, deviceIds } = choices;
  const usual = place === 'gpu' || optimizeFor === 'latency' ? 1 : Math.min(cpuCount, MAX_WORKERS);
  const workerCount = (choice === 'auto' ? usual : choice) * Math.max(1, deviceIds.length);
  const share = Math.max(1, Math.floor(cpuCount / workerCount));
  return { workerCount, threadsPerWorker: threads === 'auto' ? share : Math.min(threads, cpuCount) };
}
