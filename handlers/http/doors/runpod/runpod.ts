import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type InferlessModel from '../../../../app.ts';
import { HandlerError } from '../../../../protocol/errors.ts';
import { valuesByName } from '../../../../protocol/named-tensor.ts';
import { logInternal } from '../../../service/log-internal.ts';
import { isReady } from '../../../service/readiness.ts';
import type { Draining } from '../../drain.ts';
import { askUntil } from '../../exchange/ask-model.ts';
import { clientSignal } from '../../exchange/client-signal.ts';
import { refusals } from '../../exchange/job.ts';
import { sendEncoded, sendJson } from '../../exchange/reply.ts';
import type { Place } from '../../exchange/request-limit.ts';
import { spanOf } from '../../exchange/request-span.ts';
import { firstModel, requireModel } from '../../exchange/requested-model.ts';
import { addRoutes } from '../../exchange/route.ts';
import type { FindModel, InferenceHandler, RouteGuard, TokenGuard, TokenHandler } from '../../exchange/route-guards.ts';
import { createJobShelf, type JobShelf } from './job-shelf.ts';
import { type JobEnd, type QueuedJob, startJob } from './queued-job.ts';
import { readJob, readWaitMs } from './runpod-request.ts';

/**
 * RunPod's endpoints, for its SDKs: an endpoint is a model by its name, or the first one. The input of a job is a
 * dictionary of inputs by name, its output one of outputs. A job that fails is an answer with status 200, as there.
 * Jobs live in this process: docs/decisions/0014-doors.md.
 * Source: docs.runpod.io, "Operation reference"; npm runpod-sdk 1.1.2 and PyPI runpod 1.12.0 for the forms of answers.
 */

/** How long what came of a job can be asked for. Source: docs.runpod.io, "Operation reference". */
const RUN_KEPT_MS = 30 * 60_000;
const RUNSYNC_KEPT_MS = 60_000;

/** The most bytes of a body of `/run`, as there: bodies that wait hold no connection, and their number is the queue's. */
const MAX_RUN_BODY_BYTES = 10 * 1024 * 1024;
/** Of those that have nothing to say. */
const MAX_EMPTY_BODY_BYTES = 1_024;

/**
 * The most bytes of answers that a process keeps: as much as one body may have by default, or about 50,000 captions.
 * Every token has an equal part of it for each model, so that nobody pushes out what another may still ask for.
 */
const MAX_KEPT_BYTES = 64 * 1024 * 1024;

/** What the routes share. */
export interface RunpodContext {
  readonly guard: RouteGuard;
  readonly tokenGuard: TokenGuard;
  readonly models: readonly InferlessModel[];
  readonly draining: Draining;
  /** How many tokens there are that may have jobs. */
  readonly tokenCount: number;
}

/** Adds what an endpoint answers, below `/v2/NAME` for each model and at the root for the first. */
export function addRunpodRoutes(server: FastifyInstance, context: RunpodContext): void {
  const { guard, tokenGuard, models, draining, tokenCount } = context;
  const shelves = createShelves(MAX_KEPT_BYTES / (Math.max(1, tokenCount) * models.length));
  const bodyLimit = Math.min(server.initialConfig.bodyLimit ?? MAX_RUN_BODY_BYTES, MAX_RUN_BODY_BYTES);
  const named: FindModel = (request) => requireModel(request, models);
  const places = [
    { prefix: '', find: () => firstModel(models) },
    { prefix: '/v2/:model', find: named },
  ];
  for (const { prefix, find } of places) {
    const own = (handler: ShelfHandler): TokenHandler => {
      return (request, reply, token) => handler(request, reply, shelves.of(token, find(request)));
    };
    const empty = (handler: ShelfHandler) => ({ ...tokenGuard(own(handler)), bodyLimit: MAX_EMPTY_BODY_BYTES });
    addRoutes(server, `${prefix}/runsync`, { POST: guard(find, runSync(shelves)) });
    addRoutes(server, `${prefix}/run`, { POST: { ...guard(find, run(shelves, draining)), bodyLimit } });
    addRoutes(server, `${prefix}/status/:id`, { GET: tokenGuard(own(sendStatus)) });
    addRoutes(server, `${prefix}/status-sync/:id`, { GET: tokenGuard(own(sendStatusInTime)) });
    addRoutes(server, `${prefix}/cancel/:id`, { POST: empty(cancel) });
    addRoutes(server, `${prefix}/purge-queue`, { POST: empty(purgeQueue) });
  }
  // At the root this path is Hugging Face's.
  addRoutes(server, '/v2/:model/health', {
    GET: tokenGuard((request, reply, token) => {
      const model = named(request);
      return sendJson(reply, healthOf(model, shelves.of(token, model), draining));
    }),
  });
  draining.waitWhile((limitMs) => shelves.all().some((shelf) => shelf.isBusy(limitMs)));
  server.addHook('preClose', async () => {
    const jobs = shelves.all().flatMap((shelf) => shelf.close());
    if (jobs.length > 0) server.log.warn({ jobs }, 'jobs whose ends nobody has asked for');
  });
}

interface Shelves {
  of(token: string | undefined, model: InferlessModel): JobShelf;
  all(): readonly JobShelf[];
}

/** A shelf for each token and model: nobody sees the jobs of another. */
function createShelves(maxBytes: number): Shelves {
  const shelves = new Map<InferlessModel, Map<string | undefined, JobShelf>>();
  return {
    of(token, model) {
      const own = shelves.get(model) ?? new Map<string | undefined, JobShelf>();
      const shelf = own.get(token) ?? createJobShelf({ maxBytes, encode: encodeEnd });
      shelves.set(model, own.set(token, shelf));
      return shelf;
    },
    all: () => [...shelves.values()].flatMap((own) => [...own.values()]),
  };
}

type ShelfHandler = (
  request: FastifyRequest,
  reply: FastifyReply,
  shelf: JobShelf,
) => FastifyReply | Promise<FastifyReply>;

/** @throws HandlerError when there is no room for it, or its inputs are not valid: it was not begun. */
async function begin(
  request: FastifyRequest,
  { log }: FastifyReply,
  model: InferlessModel,
  place: Place,
): Promise<QueuedJob> {
  const { inputs, limits } = readJob(request);
  const span = spanOf(request);
  const job = await startJob(async (signal, events) => {
    const { outputs } = await askUntil(model, { inputs }, { signal, log, events, span });
    return valuesByName(outputs);
  }, limits);
  const leave = place.keep();
  void job.ended.then(({ error }) => {
    leave();
    if (error === undefined) return;
    logInternal(error, log);
    span?.setError(error.code);
  });
  return job;
}

/** Answers at once: the rest is told when it is asked for. */
function run(shelves: Shelves, draining: Draining): InferenceHandler {
  return async (request, reply, model, place) => {
    requireGoingOn(request, draining);
    const job = await begin(request, reply, model, place);
    void shelves.of(place.token, model).add(job, RUN_KEPT_MS);
    return sendJson(reply, stateOf(job));
  };
}

/**
 * Answers when the job has ended, or when its client has waited for long enough. A client that leaves before cancels it:
 * nobody else knows its id.
 */
function runSync(shelves: Shelves): InferenceHandler {
  return async (request, reply, model, place) => {
    const waitMs = readWaitMs(request);
    const gone = clientSignal(reply);
    const job = await begin(request, reply, model, place);
    const shelf = shelves.of(place.token, model);
    const answer = shelf.add(job, RUNSYNC_KEPT_MS);
    const end = await job.wait(canGoOn(request) ? waitMs : undefined, gone);
    if (gone.aborted) await shelf.cancel(job.id);
    gone.throwIfAborted();
    if (end === undefined) return sendJson(reply, stateOf(job));
    shelf.read(job.id); // Its client knows it now.
    if (end.error !== undefined && end.error.code !== 'CANCELLED' && refusals.includes(end.error.code)) throw end.error;
    return sendEncoded(reply, { body: await answer, jsonLength: undefined });
  };
}

function sendStatus(request: FastifyRequest, reply: FastifyReply, shelf: JobShelf): FastifyReply {
  const id = idOf(request);
  const job = shelf.find(id);
  return job === undefined ? sendEnd(reply, shelf.read(id)) : sendJson(reply, stateOf(job));
}

/** The same when the job has ended, or its client has waited for long enough. */
async function sendStatusInTime(request: FastifyRequest, reply: FastifyReply, shelf: JobShelf): Promise<FastifyReply> {
  const waitMs = readWaitMs(request);
  await shelf.find(idOf(request))?.wait(waitMs, clientSignal(reply));
  return sendStatus(request, reply, shelf);
}

async function cancel(request: FastifyRequest, reply: FastifyReply, shelf: JobShelf): Promise<FastifyReply> {
  return sendEnd(reply, await shelf.cancel(idOf(request)));
}

async function purgeQueue(_request: FastifyRequest, reply: FastifyReply, shelf: JobShelf): Promise<FastifyReply> {
  return sendJson(reply, { removed: await shelf.purge(), status: 'completed' });
}

function idOf({ params }: FastifyRequest): string {
  return (params as { readonly id: string }).id; // The routes name it.
}

/** @throws HandlerError `NOT_FOUND` where there is none. */
function sendEnd(reply: FastifyReply, answer: Uint8Array | undefined): FastifyReply {
  if (answer !== undefined) return sendEncoded(reply, { body: answer, jsonLength: undefined });
  throw new HandlerError(
    'NOT_FOUND',
    'Expected a job of this token and endpoint that goes on, or whose result is still kept in this process, got the id of none.',
  );
}

/** AWS Lambda hands its requests to a server that never listens, and stops it when they are answered. */
function canGoOn({ server }: FastifyRequest): boolean {
  return server.server.listening;
}

/** @throws HandlerError `NOT_READY` or `NOT_FOUND` where nobody could ask what came of a job. */
function requireGoingOn(request: FastifyRequest, draining: Draining): void {
  if (draining.isDraining())
    throw new HandlerError('NOT_READY', 'Expected a service that goes on, got one that is about to stop.');
  if (canGoOn(request)) return;
  throw new HandlerError(
    'NOT_FOUND',
    'Expected a process that goes on after its answer, got one that does not (AWS Lambda). POST /runsync is answered.',
  );
}

/** What is told of a job that goes on. */
function stateOf(job: QueuedJob): object {
  return { id: job.id, status: job.isComputing() ? 'IN_PROGRESS' : 'IN_QUEUE' };
}

function encodeEnd(id: string, end: JobEnd): Uint8Array {
  const times = { delayTime: Math.round(end.delayMs), executionTime: Math.round(end.executionMs) };
  return Buffer.from(JSON.stringify({ id, ...outcomeOf(end), ...times }));
}

function outcomeOf({ output, error }: JobEnd): object {
  if (error === undefined) return { status: 'COMPLETED', output };
  if (error.code === 'CANCELLED') return { status: 'CANCELLED' };
  const status = error.code === 'DEADLINE_EXCEEDED' ? 'TIMED_OUT' : 'FAILED';
  return { status, error: `${error.code}: ${error.message}` };
}

/** The jobs are those of the token; the one worker is this process. */
function healthOf(model: InferlessModel, shelf: JobShelf, draining: Draining): object {
  const { waiting, computing, completed, failed } = shelf.counts();
  const ready = isReady(model, draining);
  const running = ready && (model.model?.queuedItems() ?? 0) > 0;
  return {
    jobs: { completed, failed, inProgress: computing, inQueue: waiting, retried: 0 },
    workers: {
      idle: Number(ready && !running),
      initializing: Number(model.model === undefined),
      ready: Number(ready),
      running: Number(running),
      throttled: 0,
    },
  };
}
