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

export interface CpuCounts {
  /** Those that the container lets the process use, or all of the machine: `auto` follows from them. */
  readonly available: number;
  /** Bounds what is set by hand, because more threads than cores make everything slower. */
  readonly machine: number;
}

/** Each worker has memory of its own for weights and runs, so that a large machine does not get one for each CPU. */
const MAX_WORKERS = 4;

/**
 * The workers of a model where there are so many CPUs. On a GPU each worker has a copy of the weights on the card, and
 * one keeps it busy, whatever the goal.
 */
export function planWorkers(choices: WorkerChoices, place: 'cpu' | 'gpu', cpus: CpuCounts): WorkerPlan {
  const { optimizeFor, workerCount: choice, threadsPerWorker: threads, deviceIds } = choices;
  const usual = place === 'gpu' || optimizeFor === 'latency' ? 1 : Math.min(cpus.available, MAX_WORKERS);
  const workerCount = (choice === 'auto' ? usual : choice) * Math.max(1, deviceIds.length);
  const share = Math.max(1, Math.floor(cpus.available / workerCount));
  return { workerCount, threadsPerWorker: threads === 'auto' ? share : Math.min(threads, cpus.machine) };
}
