import { HandlerError } from '../../../../protocol/errors.ts';
import { StatisticsCollector } from '../../../service/statistics.ts';
import type { DoorContext } from '../../exchange/door.ts';
import { sendJson } from '../../exchange/reply.ts';
import { requireModel } from '../../exchange/requested-model.ts';
import { modelPaths } from './model-paths.ts';

/** Adds Triton's statistics, and Prometheus' metrics where the process collects them. */
export function addObservabilityRoutes({ routes, models, metrics }: DoorContext): void {
  const collectors = new Map(models.map((model) => [model, new StatisticsCollector(model)]));
  for (const path of modelPaths('/stats')) {
    routes.add(path, 'GET', (request, reply) =>
      sendJson(reply, { model_stats: [collectors.get(requireModel(request, models))?.collect()] }),
    );
  }
  routes.add('/v2/models/stats', 'GET', (_request, reply) =>
    sendJson(reply, { model_stats: [...collectors.values()].map((collector) => collector.collect()) }),
  );
  routes.add('/metrics', 'GET', async (_request, reply) => {
    if (metrics === undefined)
      throw new HandlerError('NOT_FOUND', 'Expected a server that collects metrics, got none.');
    const { contentType, text } = await metrics;
    return reply.header('content-type', contentType).send(await text());
  });
}
