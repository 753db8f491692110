import type InferlessModel from '../../app.ts';
import type { Draining } from './drain.ts';

/** Whether a model would answer now: it is loaded, a worker lives, and the server is not about to stop. */
export function isReady({ model }: InferlessModel, draining: Draining): boolean {
  return model?.isHealthy() === true && !draining.isDraining();
}

/** Whether every model would. */
export function areReady(models: readonly InferlessModel[], draining: Draining): boolean {
  return models.every((model) => isReady(model, draining));
}
