import type Handler from '../../app.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { MODEL_VERSION } from '../../protocol/metadata.ts';
import { shortName } from './short-name.ts';

/** Finds the models of a process by the names that requests use. */

/** Whether a model has no name now: one that is named by its task has a name only while it is loaded. */
export function isUnnamed({ name }: Handler): boolean {
  return name === undefined;
}

/** The names of all models that have one now. */
export function namesOf(models: readonly Handler[]): readonly string[] {
  return models.map(({ name }) => name).filter((name) => name !== undefined);
}

/**
 * The model of that name and version.
 * @throws HandlerError `NOT_FOUND`, or `NOT_READY` while a model has no name yet.
 */
export function findModel(models: readonly Handler[], name: string, modelVersion: string = MODEL_VERSION): Handler {
  const model = models.find((candidate) => candidate.name === name);
  if (model === undefined) {
    if (models.some(isUnnamed))
      throw new HandlerError('NOT_READY', 'Expected the model to be loaded, got a request before or after that.');
    throw new HandlerError(
      'NOT_FOUND',
      `Request for unknown model: '${shortName(name)}' is not found. This service has ${namesOf(models).join(', ')}.`,
    );
  }
  if (modelVersion !== MODEL_VERSION) {
    throw new HandlerError(
      'NOT_FOUND',
      `Request for unknown model: '${name}' version ${shortName(modelVersion)} is not found. There is version ${MODEL_VERSION}.`,
    );
  }
  return model;
}

interface ModelIndex {
  readonly name: string;
  readonly version: string;
  readonly state: 'READY' | 'UNAVAILABLE';
  readonly reason: string;
}

/**
 * The index of the models, as of Triton's model repository.
 * Source: triton-inference-server/server, docs/protocol/extension_model_repository.md.
 */
export function repositoryIndex(models: readonly Handler[]): readonly ModelIndex[] {
  return models.map(({ name = '', model }) => {
    const entry = { name, version: MODEL_VERSION };
    if (model === undefined) return { ...entry, state: 'UNAVAILABLE', reason: 'not loaded' };
    if (!model.isHealthy()) return { ...entry, state: 'UNAVAILABLE', reason: 'no worker thread makes progress' };
    return { ...entry, state: 'READY', reason: '' };
  });
}
