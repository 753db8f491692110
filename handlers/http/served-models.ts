import type { FastifyRequest } from 'fastify';
import type InferlessModel from '../../app.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { MODEL_VERSION } from '../../protocol/metadata.ts';

/** Parameters of the paths that name a model. */
export interface ModelPath {
  readonly model: string;
  readonly version?: string;
}

export function modelPaths(suffix: string): readonly string[] {
  return [`/v2/models/:model${suffix}`, `/v2/models/:model/versions/:version${suffix}`];
}

export function isUnnamed({ name }: InferlessModel): boolean {
  return name === undefined;
}

/** Models that have a name: one that is named by its task has none before it is loaded. */
export function namesOf(models: readonly InferlessModel[]): readonly string[] {
  return models.map(({ name }) => name).filter((name) => name !== undefined);
}

/**
 * The model that a path names.
 * @throws HandlerError `NOT_FOUND`, or `NOT_READY` while a model has no name yet.
 */
export function requireModel(request: FastifyRequest, models: readonly InferlessModel[]): InferlessModel {
  const { model: name, version: modelVersion = MODEL_VERSION } = request.params as ModelPath; // The routes name both.
  const model = models.find((candidate) => candidate.name === name);
  if (model === undefined) {
    if (models.some(isUnnamed))
      throw new HandlerError('NOT_READY', 'Expected the model to be loaded, got a request before or after that.');
    throw new HandlerError(
      'NOT_FOUND',
      `Request for unknown model: '${name}' is not found. This service has ${namesOf(models).join(', ')}.`,
    );
  }
  if (modelVersion !== MODEL_VERSION) {
    throw new HandlerError(
      'NOT_FOUND',
      `Request for unknown model: '${name}' version ${modelVersion} is not found. There is version ${MODEL_VERSION}.`,
    );
  }
  return model;
}
