import { availableParallelism } from 'node:os';
import { availableCpus, type ContainerLimits, readContainerLimits } from '../../pipeline/container-limits.ts';
import { MAX_DECODER_BYTES, maxDecoderCount } from '../../pipeline/images/decoders/decoder-pool.ts';
import { MAX_FETCHED_BYTES } from '../../pipeline/images/fetched-bytes.ts';
import { MAX_RUN_BYTES } from '../../pipeline/sessions/run-bounds.ts';
import type { Settings } from '../../pipeline/settings.ts';
import { planWorkers } from '../../pipeline/worker-plan.ts';
import type { ServerSettings } from './server-settings.ts';

/** The limits of a container, and their effect on a server, for the log at its start. */

type MemorySettings = Pick<
  Settings,
  | 'maxDecodedBytes'
  | 'maxRunBytes'
  | 'imageCacheBytes'
  | 'optimizeFor'
  | 'workerCount'
  | 'threadsPerWorker'
  | 'deviceIds'
>;
type BodySettings = Pick<ServerSettings, 'maxHeldBodyBytes' | 'models'>;

/** Memory that requests may take at a time, in bytes, by the setting that bounds it. */
export type MemoryBudgets = Readonly<Record<string, number>>;

interface LimitsLog {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
}

/** Logs a limit of CPUs that workers and threads follow, and warns where requests may take more memory than there is. */
export function logContainerLimits(
  settings: MemorySettings,
  serverSettings: BodySettings,
  log: LimitsLog,
  limits: ContainerLimits = readContainerLimits(),
  machineCpus: number = availableParallelism(),
): void {
  const cpus = availableCpus(limits.cpus, machineCpus);
  if (limits.cpus !== undefined && limits.cpus < machineCpus)
    log.info(
      { cpuLimit: limits.cpus, machineCpus, cpus },
      'the container has a limit of CPUs, which BLIP_WORKERS=auto and BLIP_THREADS=auto follow',
    );
  const { memoryBytes } = limits;
  const budgets = memoryBudgets(settings, serverSettings, cpus);
  const budgetBytes = Object.values(budgets).reduce((sum, bytes) => sum + bytes, 0);
  if (memoryBytes === undefined || budgetBytes <= memoryBytes) return;
  log.warn(
    { memoryLimitBytes: memoryBytes, budgetBytes, budgets },
    'requests may together take more memory than the container has, which would end it: raise its limit, or lower the ' +
      'largest of these settings (docs/how-to/tune-memory-and-speed.md)',
  );
}

/** The most that requests take in a process, without the weights of its models. */
export function memoryBudgets(
  settings: MemorySettings,
  { maxHeldBodyBytes, models }: BodySettings,
  cpus: number,
): MemoryBudgets {
  const modelCount = Math.max(1, models.length);
  const { workerCount } = planWorkers(settings, 'cpu', { available: cpus, machine: cpus });
  return {
    BLIP_MAX_DECODED_BYTES: 2 * settings.maxDecodedBytes, // While a batch runs, its thread has a copy.
    BLIP_MAX_HELD_BODY_BYTES: maxHeldBodyBytes,
    BLIP_MAX_RUN_BYTES: modelCount * workerCount * (settings.maxRunBytes ?? MAX_RUN_BYTES),
    BLIP_IMAGE_CACHE_BYTES: modelCount * settings.imageCacheBytes,
    fetchedImages: MAX_FETCHED_BYTES,
    decoders: maxDecoderCount(cpus) * MAX_DECODER_BYTES,
  };
}
