import type { FastifyInstance } from 'fastify';
import type InferlessModel from '../../../../app.ts';
import { HandlerError } from '../../../../protocol/errors.ts';
import type { Metrics } from '../../../service/metrics.ts';
import { collectStatistics } from '../../../service/statistics.ts';
import { sendJson } from '../../exchange/reply.ts';
import { modelPaths, requireModel } from '../../exchange/requested-model.ts';
import { addRoute } from '../../exchange/route.ts';

/** What the service did: Prometheus' metrics, where the process collects them, and Triton's statistics. */
export function addObservabilityRoutes(
  server: FastifyInstance,
  models: readonly InferlessModel[],
  metrics: Promise<Metrics> | undefined,
): void {
  const statistics = new Map(models.map((model) => [model, collectStatistics(model)]));
  for (const path of modelPaths('/stats')) {
    addRoute(server, 'GET', path, (request, reply) =>
      sendJson(reply, { model_stats: [statistics.get(requireModel(request, models))?.()] }),
    );
  }
  addRoute(server, 'GET', '/v2/models/stats', (_request, reply) =>
    sendJson(reply, { model_stats: [...statistics.values()].map((collect) => collect()) }),
  );
  addRoute(server, 'GET', '/metrics', async (_request, reply) => {
    if (metrics === undefined)
      throw new HandlerError('NOT_FOUND', 'Expected a server that collects metrics, got none.');
    const { contentType, text } = await metrics;
    return reply.header('content-type', contentType).send(await text());
  });
}
