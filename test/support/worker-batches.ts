import type { GenerationBatch } from '../../pipeline/sessions/generation-batch.ts';
import type { WorkerSettings } from '../../pipeline/workers/inference-worker.ts';
import { checkpointFolder } from './goldens.ts';
import { greedySettings } from './greedy-settings.ts';

/** The smallest work there is for a worker thread. */

export const smallWorkerSettings: WorkerSettings<'captioning'> = {
  task: 'captioning',
  folder: checkpointFolder('narrow-vision'),
  executionProvider: 'cpu',
  precision: 'auto',
  threadCount: 1,
};

/** A grey image of the model's own size, and a caption of 3 tokens. */
export function greyBatch(grey = 128): GenerationBatch {
  return {
    images: [{ width: 32, height: 32, data: new Uint8Array(32 * 32 * 3).fill(grey) }],
    rows: [{ image: 0, inputIds: [182], maxNewTokens: 3, minNewTokens: 3, seed: 0 }],
    settings: greedySettings,
  };
}
