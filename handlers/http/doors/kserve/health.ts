import { areReady } from '../../../service/readiness.ts';
import type { DoorContext } from '../../exchange/door.ts';
import { readinessStatus, sendJson } from '../../exchange/reply.ts';
import { sendModelReadiness } from '../../exchange/requested-model.ts';
import { modelPaths } from './model-paths.ts';

/** Adds the routes that say whether the process lives, and whether it would answer. They are open: probes have no token. */
export function addHealthRoutes({ routes, models, drain }: DoorContext): void {
  routes.add('/v2/health/live', 'GET', (_request, reply) => sendJson(reply, { live: true }));
  routes.add('/v2/health/ready', 'GET', (_request, reply) => {
    const ready = areReady(models, drain);
    return sendJson(reply, { live: true, ready }, readinessStatus(ready));
  });
  for (const path of modelPaths('/ready'))
    routes.add(path, 'GET', (request, reply) => sendModelReadiness(request, reply, models, drain));
}
