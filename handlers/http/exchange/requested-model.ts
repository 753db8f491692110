import type { FastifyRequest } from 'fastify';
import type InferlessModel from '../../../app.ts';
import type { schemas } from '../../../input_schema.ts';
import { HandlerError } from '../../../protocol/errors.ts';
import { findModel } from '../../service/served-models.ts';

/** Parameters of the paths that name a model. */
export interface ModelPath {
  readonly model: string;
  readonly version?: string;
}

/** The paths of a model: with a suffix, without its version and with it. */
export function modelPaths(suffix: string): readonly string[] {
  return [`/v2/models/:model${suffix}`, `/v2/models/:model/versions/:version${suffix}`];
}

/**
 * The model that a path names.
 * @throws HandlerError `NOT_FOUND`, or `NOT_READY` while a model has no name yet.
 */
export function requireModel(request: FastifyRequest, models: readonly InferlessModel[]): InferlessModel {
  const { model: name, version: modelVersion } = request.params as ModelPath; // The routes name both.
  return findModel(models, name, modelVersion);
}

/**
 * The model for paths that name none: the first of the first of these tasks that there is one of.
 * @throws HandlerError `NOT_FOUND` when no model of this service is of them, `NOT_READY` while that is not known yet.
 */
export function requireModelOfTask(
  models: readonly InferlessModel[],
  tasks: readonly (keyof typeof schemas)[],
): InferlessModel {
  const found = tasks.map((task) => models.find(({ model }) => model?.checkpoint.task === task));
  const best = found.find((model) => model !== undefined);
  const isKnown = found[0] !== undefined || models.every(({ model }) => model !== undefined);
  if (best !== undefined && isKnown) return best;
  if (!isKnown) throw new HandlerError('NOT_READY', 'Expected the models to be loaded, got a request before that.');
  throw new HandlerError('NOT_FOUND', `Expected a checkpoint for ${tasks.join(' or ')} behind this path, got none.`);
}

/**
 * The model for paths of peers that serve one model at a time.
 * @throws HandlerError `NOT_FOUND` when there is none.
 */
export function firstModel([first]: readonly InferlessModel[]): InferlessModel {
  if (first !== undefined) return first;
  throw new HandlerError('NOT_FOUND', 'Expected a model behind this path, got none.');
}
