import type { FastifyRequest } from 'fastify';
import type Handler from '../../../../app.ts';
import { HandlerError } from '../../../../protocol/errors.ts';
import { findModel, namesOf } from '../../../service/served-models.ts';
import type { DoorContext } from '../../exchange/door.ts';
import { predictInstances } from '../../exchange/instances.ts';
import { sendJson } from '../../exchange/reply.ts';
import { type ModelPath, sendModelReadiness } from '../../exchange/requested-model.ts';
import { probe } from '../../exchange/route-table.ts';

/** Ends the path of a prediction. It is read here, because a colon begins a parameter in a route. */
const PREDICT_SUFFIX = ':predict';

/**
 * Adds KServe's first protocol: `/v1/models` and, for each model, its readiness and `:predict`.
 * Source: kserve/kserve, v1 protocol.
 */
export function addVersion1Routes({ routes, guard, models, drain }: DoorContext): void {
  routes.add('/v1/models', 'GET', (_request, reply) => sendJson(reply, { models: namesOf(models) }));
  const ready = probe((request, reply) => sendModelReadiness(request, reply, models, drain));
  routes.add('/v1/models/:model', 'GET', ready);
  routes.add(
    '/v1/models/:model',
    'POST',
    guard((request) => requirePredictedModel(request, models), predictInstances),
  );
}

/** @throws HandlerError `NOT_FOUND` when the path has another verb than `predict`, or names no model. */
function requirePredictedModel({ params }: FastifyRequest, models: readonly Handler[]): Handler {
  const { model: name } = params as ModelPath; // The route has this parameter.
  if (name.endsWith(PREDICT_SUFFIX)) return findModel(models, name.slice(0, -PREDICT_SUFFIX.length));
  throw new HandlerError('NOT_FOUND', `Expected a path that ends with ${PREDICT_SUFFIX}, got another.`);
}
