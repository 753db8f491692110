import { dismissEarlyThread, startThreadEarly } from '../../pipeline/workers/worker-thread.ts';
import { isHelpAsked } from './help-asked.ts';

/**
 * Imports a command whose process will load a model. A worker thread loads the runtime meanwhile, which takes about as
 * long. A command that only prints its help needs none, and one that fails before it loads a model ends the thread.
 */
export async function startEarly(importCommand: () => Promise<unknown>): Promise<void> {
  if (!isHelpAsked()) startThreadEarly();
  await importCommand().finally(dismissEarlyThread);
}
