import { areReady } from '../../../service/readiness.ts';
import type { Door, DoorContext } from '../../exchange/door.ts';
import { readinessStatus, sendJson, sendText } from '../../exchange/reply.ts';
import { probe } from '../../exchange/route-table.ts';
import { addClipRoutes } from './bentoml-clip.ts';
import { addGenerateRoute, generateDescription } from './bentoml-generate.ts';

/** The routes of two services made with BentoML, and those that BentoML's own clients ask for. */
export const bentoml: Door = {
  name: 'BentoML',
  paths: ['/generate', '/encode', '/rank', '/schema.json', '/livez', '/healthz', '/readyz'],
  add(context) {
    addGenerateRoute(context);
    addClipRoutes(context);
    addServiceRoutes(context);
  },
};

/** Adds what BentoML's clients read before they call a route, and its probes. */
function addServiceRoutes({ routes, models, drain }: DoorContext): void {
  routes.add('/schema.json', 'GET', (_request, reply) =>
    sendJson(reply, { name: 'blip-handler', type: 'service', routes: [generateDescription] }),
  );
  const live = probe((_request, reply) => sendText(reply, '\n'));
  const ready = probe((_request, reply) => sendText(reply, '\n', readinessStatus(areReady(models, drain))));
  for (const path of ['/livez', '/healthz']) routes.add(path, 'GET', live);
  routes.add('/readyz', 'GET', ready);
}
