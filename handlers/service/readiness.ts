import type InferlessModel from '../../app.ts';

/** What stops: a server that still answers, and says that it is not ready. */
export interface Stopping {
  isDraining(): boolean;
}

/** Whether a model would answer now: it is loaded, a worker lives, and the server is not about to stop. */
export function isReady({ model }: InferlessModel, server: Stopping): boolean {
  return model?.isHealthy() === true && !server.isDraining();
}

/** Whether every model would. */
export function areReady(models: readonly InferlessModel[], server: Stopping): boolean {
  return models.every((model) => isReady(model, server));
}
