import { areReady } from '../../../service/readiness.ts';
import type { DoorContext } from '../../exchange/door.ts';
import { readinessStatus, sendJson } from '../../exchange/reply.ts';
import { sendModelReadiness } from '../../exchange/requested-model.ts';
import { probe } from '../../exchange/route-table.ts';
import { modelPaths } from './model-paths.ts';

/** Adds the routes that say whether the process lives, and whether it would answer. They are open: probes have no token. */
export function addHealthRoutes({ routes, models, drain }: DoorContext): void {
  routes.add(
    '/v2/health/live',
    'GET',
    probe((_request, reply) => sendJson(reply, { live: true })),
  );
  const ready = probe((_request, reply) => {
    const isReady = areReady(models, drain);
    return sendJson(reply, { live: true, ready: isReady }, readinessStatus(isReady));
  });
  routes.add('/v2/health/ready', 'GET', ready);
  const modelReady = probe((request, reply) => sendModelReadiness(request, reply, models, drain));
  for (const path of modelPaths('/ready')) routes.add(path, 'GET', modelReady);
}
