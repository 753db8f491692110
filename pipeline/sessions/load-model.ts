import { openCheckpoint } from '../../checkpoint/checkpoint.ts';
import { openWeights } from '../../checkpoint/weights.ts';
import { loadClipModel } from './clip-model.ts';
import { loadGenerationModel } from './generation-model.ts';
import type { LoadedModel, LoadOptions } from './loaded-model.ts';
import { loadRetrievalModel } from './retrieval-model.ts';

/**
 * Loads the checkpoint in a folder, whatever its task. Its batches and results are those of that task.
 * @throws CheckpointError when the folder cannot be served.
 */
export async function loadModel(folder: string, options: LoadOptions): Promise<LoadedModel<never, unknown>> {
  const checkpoint = openCheckpoint(folder, options.imageSize);
  const weights = openWeights(folder);
  if (checkpoint.task === 'clip') return await loadClipModel(checkpoint, weights, options);
  if (checkpoint.task === 'retrieval') return await loadRetrievalModel(checkpoint, weights, options);
  return await loadGenerationModel(checkpoint, weights, options);
}
