import { type Checkpoint, openCheckpoint } from '../../checkpoint/checkpoint.ts';
import { CheckpointError } from '../../checkpoint/errors.ts';
import { hasQuantizedWeights } from '../../checkpoint/weights/int8-format.ts';
import { openWeights, type Weights } from '../../checkpoint/weights/weights.ts';
import { loadClipSession } from './clip-session.ts';
import { loadGenerationSession } from './generation-session.ts';
import type { LoadedSession, LoadOptions } from './loaded-session.ts';
import { loadRetrievalSession } from './retrieval-session.ts';

/**
 * Loads the checkpoint in a folder, whatever its task. Its batches and results are those of that task.
 * @throws CheckpointError when the folder cannot be served.
 */
export async function loadSession(folder: string, options: LoadOptions): Promise<LoadedSession<never, unknown>> {
  const checkpoint = openCheckpoint(folder, options.imageSize);
  const weights = openWeights(folder);
  requireAgreement(checkpoint, weights);
  if (checkpoint.task === 'clip') return await loadClipSession(checkpoint, weights, options);
  if (checkpoint.task === 'retrieval') return await loadRetrievalSession(checkpoint, weights, options);
  return await loadGenerationSession(checkpoint, weights, options);
}

/** config.json says where a model may run before its weights are opened. */
function requireAgreement({ folder, isInt8 }: Checkpoint, weights: Weights): void {
  if (isInt8 === hasQuantizedWeights(weights)) return;
  const [said, found] = isInt8 ? ['int8', 'floats'] : ['floats', 'int8'];
  throw new CheckpointError(
    'CHECKPOINT_CONFIG_INVALID',
    `${folder}: expected weights of ${said}, as config.json says, got ${found}.`,
  );
}
