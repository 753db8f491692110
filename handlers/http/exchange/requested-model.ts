import type { FastifyReply, FastifyRequest } from 'fastify';
import type Handler from '../../../app.ts';
import type { Task } from '../../../checkpoint/config/architectures.ts';
import { knownModels } from '../../../checkpoint/hub/known-models.ts';
import type { schemas } from '../../../input_schema.ts';
import { HandlerError } from '../../../protocol/errors.ts';
import { isReady, type Stopping } from '../../service/readiness.ts';
import { findModel, isUnnamed } from '../../service/served-models.ts';
import { readinessStatus, sendJson } from './reply.ts';

/** Parameters of the paths that name a model. */
export interface ModelPath {
  readonly model: string;
  readonly version?: string;
}

/**
 * The model that a path names.
 * @throws HandlerError `NOT_FOUND`, or `NOT_READY` while a model has no name yet.
 */
export function requireModel({ params }: FastifyRequest, models: readonly Handler[]): Handler {
  const { model: name, version: modelVersion } = params as ModelPath; // The routes have these parameters.
  return findModel(models, name, modelVersion);
}

/** Answers whether the model that a path names would answer. */
export function sendModelReadiness(
  request: FastifyRequest,
  reply: FastifyReply,
  models: readonly Handler[],
  server: Stopping,
): FastifyReply {
  const { model: name } = request.params as ModelPath; // The routes have this parameter.
  // A model that is named by its task has no name before it is loaded, so that any unknown name may be its name.
  const ready = models.some(isUnnamed) ? false : isReady(requireModel(request, models), server);
  return sendJson(reply, { name, ready }, readinessStatus(ready));
}

/**
 * The model for a path that names none: a model of the first of these tasks that any model has.
 * @throws HandlerError `NOT_FOUND` when no model has such a task, `NOT_READY` while that is not known yet.
 */
export function requireModelOfTask(models: readonly Handler[], tasks: readonly (keyof typeof schemas)[]): Handler {
  const candidates = tasks.map((task) => models.find(({ model }) => model?.checkpoint.task === task));
  const best = candidates.find((model) => model !== undefined);
  const isKnown = candidates[0] !== undefined || models.every(({ model }) => model !== undefined);
  if (best !== undefined && isKnown) return best;
  if (!isKnown) throw new HandlerError('NOT_READY', 'Expected the models to be loaded, got a request before that.');
  throw new HandlerError('NOT_FOUND', `Expected a checkpoint for ${tasks.join(' or ')} behind this path, got none.`);
}

/**
 * The model for a request that says itself what it asks for: the first model, if it has one of these tasks, else a model of
 * the first of these tasks that any model has.
 * @param asked names what the request has, for the message: `a question`.
 * @throws HandlerError `INVALID_INPUT` when no model has such a task. It names a published one that has.
 */
export function modelOfServedTask(models: readonly Handler[], tasks: readonly Task[], asked: string): Handler {
  const taskOf = ({ model }: Handler) => model?.checkpoint.task;
  const [first] = models;
  const firstTask = first === undefined ? undefined : taskOf(first);
  const ordered = tasks.filter((task) => task === firstTask).concat(tasks);
  const found = ordered.flatMap((task) => models.find((model) => taskOf(model) === task) ?? [])[0];
  if (found !== undefined) return found;
  const served = [...new Set(models.flatMap((model) => taskOf(model) ?? []))].join(' or ');
  const published = knownModels.find(({ task }) => task === tasks[0])?.reference;
  throw new HandlerError(
    'INVALID_INPUT',
    `Expected a request for ${served}, got ${asked}. That needs a model for ${tasks.join(' or ')}, such as ${published}.`,
  );
}

/**
 * The model for the paths of platforms that serve one model at a time.
 * @throws HandlerError `NOT_FOUND` when there is none.
 */
export function firstModel([first]: readonly Handler[]): Handler {
  if (first !== undefined) return first;
  throw new HandlerError('NOT_FOUND', 'Expected a model behind this path, got none.');
}
