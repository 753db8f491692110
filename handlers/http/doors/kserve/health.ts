import type { FastifyInstance } from 'fastify';
import type InferlessModel from '../../../../app.ts';
import { errorCodes } from '../../../../protocol/errors.ts';
import { areReady, isReady } from '../../../service/readiness.ts';
import { isUnnamed } from '../../../service/served-models.ts';
import type { Draining } from '../../drain.ts';
import { sendJson } from '../../exchange/reply.ts';
import { type ModelPath, modelPaths, requireModel } from '../../exchange/requested-model.ts';
import { addRoute } from '../../exchange/route.ts';

/** Whether the process lives, and whether it would answer. Open without a token: probes have none. */
export function addHealthRoutes(server: FastifyInstance, models: readonly InferlessModel[], draining: Draining): void {
  addRoute(server, 'GET', '/v2/health/live', (_request, reply) => sendJson(reply, { live: true }));
  addRoute(server, 'GET', '/v2/health/ready', (_request, reply) => {
    const ready = areReady(models, draining);
    return sendJson(reply, { live: true, ready }, ready ? 200 : errorCodes.NOT_READY.http);
  });
  for (const path of modelPaths('/ready')) {
    addRoute(server, 'GET', path, (request, reply) => {
      // A model that is named by its task has no name before it is loaded: whatever is asked for may be it.
      const { model: name } = request.params as ModelPath; // The routes name it.
      const ready = models.some(isUnnamed) ? false : isReady(requireModel(request, models), draining);
      return sendJson(reply, { name, ready }, ready ? 200 : errorCodes.NOT_READY.http);
    });
  }
}
