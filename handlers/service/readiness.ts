import type Handler from '../../app.ts';
import type { Drain } from './drain.ts';

/** A server that may be about to stop: it still answers, but is not ready. */
export type Stopping = Pick<Drain, 'isDraining'>;

/** Whether a model would answer now: it is loaded, a worker lives and is not overdue, and the server is not stopping. */
export function isReady({ model }: Handler, server: Stopping): boolean {
  return model?.isHealthy() === true && !server.isDraining();
}

/** Whether all models would answer now. */
export function areReady(models: readonly Handler[], server: Stopping): boolean {
  return models.every((model) => isReady(model, server));
}
