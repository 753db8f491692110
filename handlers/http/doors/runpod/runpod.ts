import type { FastifyReply, FastifyRequest } from 'fastify';
import { HandlerError } from '../../../../protocol/errors.ts';
import { valuesByName } from '../../../../protocol/named-tensor.ts';
import type { Drain } from '../../../service/drain.ts';
import { logInternal } from '../../../service/log-internal.ts';
import { clientSignal } from '../../exchange/client-signal.ts';
import type { Door, DoorContext } from '../../exchange/door.ts';
import { askUntil, type InferenceCall } from '../../exchange/inference-call.ts';
import { refusals } from '../../exchange/job.ts';
import { sendEncoded, sendJson } from '../../exchange/reply.ts';
import { spanOf } from '../../exchange/request-span.ts';
import { firstModel, requireModel } from '../../exchange/requested-model.ts';
import type { FindModel, InferenceHandler, TokenHandler } from '../../exchange/route-guards.ts';
import { healthOf, stateOf } from './job-answers.ts';
import { type QueuedJob, startJob } from './queued-job.ts';
import { RedisConnection } from './redis-connection.ts';
import { readJob, readWaitMs } from './runpod-request.ts';
import { SharedJobs } from './shared-jobs.ts';
import type { FoundJob } from './shared-shelf.ts';
import { type ClientJobs, Shelves } from './shelves.ts';

/**
 * RunPod's endpoints, for its SDKs: an endpoint is a model by its name, at the root the first one. The input of a job
 * has inputs by name, its output has outputs by name. As with RunPod, a job that fails is an answer with status 200.
 * Jobs live in this process (docs/decisions/0014-doors.md); with `BLIP_REDIS_URL`, replicas answer for those of others
 * (docs/decisions/0047-kubernetes.md).
 * Source: docs.runpod.io, "Operation reference".
 */
export const runpod: Door = {
  name: 'RunPod',
  paths: ['/v2/:model/*', '/run', '/runsync', '/status/*', '/status-sync/*', '/cancel/*', '/purge-queue'],
  add(context) {
    const { models, settings, drain, log, onClose } = context;
    const { apiTokens, redisUrl } = settings;
    const sharedJobs = redisUrl === undefined ? undefined : new SharedJobs(new RedisConnection(redisUrl, log));
    const shelves = new Shelves(MAX_KEPT_BYTES / (Math.max(1, apiTokens.length) * models.length), sharedJobs);
    const findNamed: FindModel = (request) => requireModel(request, models);
    addEndpoint(context, '', () => firstModel(models), shelves);
    addEndpoint(context, '/v2/:model', findNamed, shelves);
    addHealthRoute(context, findNamed, shelves);
    drain.waitWhile((limitMs) => shelves.areBusy(limitMs));
    onClose(async () => {
      const jobs = await shelves.close();
      if (jobs.length > 0) log.warn({ jobs }, 'jobs whose ends nobody has asked for');
    });
  },
};

/** How long the end of a job can be asked for. Source: docs.runpod.io, "Operation reference". */
const RUN_KEPT_MS = 30 * 60_000;
const RUNSYNC_KEPT_MS = 60_000;

/** RunPod's limit for bodies of `/run`. They wait without a connection: only this and the queue's length bound them. */
const MAX_RUN_BODY_BYTES = 10 * 1024 * 1024;
/** For bodies that have no meaning. */
const MAX_EMPTY_BODY_BYTES = 1_024;

/**
 * The most bytes of answers that a process keeps: as much as one body may have by default, or about 50,000 captions.
 * Every token has an equal part of it for each model, so that no client can push out the answers of another.
 */
const MAX_KEPT_BYTES = 64 * 1024 * 1024;

type JobsHandler = (request: FastifyRequest, reply: FastifyReply, jobs: ClientJobs) => Promise<FastifyReply>;

/** Adds the operations of an endpoint below a prefix. */
function addEndpoint(
  { routes, guard, tokenGuard, settings, drain }: DoorContext,
  prefix: string,
  find: FindModel,
  shelves: Shelves,
): void {
  const withJobs =
    (handler: JobsHandler): TokenHandler =>
    (request, reply, token) =>
      handler(request, reply, shelves.of(token, find(request)));
  const withoutBody = (handler: JobsHandler) => ({
    ...tokenGuard(withJobs(handler)),
    bodyLimit: MAX_EMPTY_BODY_BYTES,
  });
  const bodyLimit = Math.min(settings.maxBodyBytes, MAX_RUN_BODY_BYTES);
  routes.add(`${prefix}/runsync`, 'POST', guard(find, runSync(shelves)));
  routes.add(`${prefix}/run`, 'POST', { ...guard(find, run(shelves, drain)), bodyLimit });
  routes.add(`${prefix}/status/:id`, 'GET', tokenGuard(withJobs(sendStatus)));
  routes.add(`${prefix}/status-sync/:id`, 'GET', tokenGuard(withJobs(sendStatusInTime)));
  routes.add(`${prefix}/cancel/:id`, 'POST', withoutBody(cancel));
  routes.add(`${prefix}/purge-queue`, 'POST', withoutBody(purgeQueue));
}

/** Adds the health of an endpoint by its name. At the root, `/health` is Hugging Face's. */
function addHealthRoute({ routes, tokenGuard, drain }: DoorContext, find: FindModel, shelves: Shelves): void {
  const answer = tokenGuard(async (request, reply, token) => {
    const model = find(request);
    const { shelf, shared } = shelves.of(token, model);
    return sendJson(reply, healthOf(model, (await shared()?.counts()) ?? shelf.counts(), drain));
  });
  routes.add('/v2/:model/health', 'GET', answer);
}

/** @throws HandlerError when there is no room for the job, or its inputs are not valid: it was not begun. */
async function begin({ request, reply, model, admitted, timeLimitMs }: InferenceCall): Promise<QueuedJob> {
  const { inputs, limits } = readJob(request);
  request.body = undefined; // Its memory is free while the job waits.
  const { log } = reply;
  const span = spanOf(request);
  const job = await startJob(async (signal, events) => {
    const { outputs } = await askUntil(
      model,
      { inputs },
      { signal, timeLimitMs, client: admitted.token, log, events, span },
    );
    return valuesByName(outputs);
  }, limits);
  const leave = admitted.keep();
  void job.ended.then(({ error }) => {
    leave();
    if (error === undefined) return;
    logInternal(error, log);
    span?.setError(error.code);
  });
  return job;
}

/** Answers at once. The client asks for the end later. */
function run(shelves: Shelves, drain: Drain): InferenceHandler {
  return async (call) => {
    requireGoingOn(call.request, drain);
    const { shelf, shared } = shelves.of(call.admitted.token, call.model);
    const job = await begin(call);
    const ending = shelf.add(job, RUN_KEPT_MS);
    try {
      await shared()?.publish(job, ending, RUN_KEPT_MS);
    } catch (thrown) {
      job.cancel(); // Its client would ask another replica, which does not know it.
      throw thrown;
    }
    return sendJson(call.reply, stateOf(job));
  };
}

/**
 * Answers when the job has ended, or when the client has waited for long enough. A client that leaves earlier cancels the
 * job, because nobody else knows its id.
 */
function runSync(shelves: Shelves): InferenceHandler {
  return async (call) => {
    const { request, reply, model, admitted } = call;
    const waitMs = readWaitMs(request);
    const gone = clientSignal(reply);
    const job = await begin(call);
    const { shelf, shared } = shelves.of(admitted.token, model);
    const answer = shelf.add(job, RUNSYNC_KEPT_MS);
    // Its client waits for this process, which has the answer even where Redis has not.
    if (canGoOn(request))
      shared()
        ?.publish(job, answer, RUNSYNC_KEPT_MS)
        .catch(() => undefined);
    const end = await job.wait(canGoOn(request) ? waitMs : undefined, gone);
    if (gone.aborted) await shelf.cancel(job.id);
    gone.throwIfAborted();
    if (end === undefined) return sendJson(reply, stateOf(job));
    shelf.read(job.id); // Its client knows it now.
    if (end.error !== undefined && end.error.code !== 'CANCELLED' && refusals.includes(end.error.code)) throw end.error;
    return sendEncoded(reply, { body: await answer, jsonLength: undefined });
  };
}

async function sendStatus(request: FastifyRequest, reply: FastifyReply, jobs: ClientJobs): Promise<FastifyReply> {
  const id = idOf(request);
  return sendOwn(id, reply, jobs) ?? sendFound(id, reply, await jobs.shared()?.find(id));
}

/** Answers as `sendStatus` does, when the job has ended or the client has waited for long enough. */
async function sendStatusInTime(request: FastifyRequest, reply: FastifyReply, jobs: ClientJobs): Promise<FastifyReply> {
  const id = idOf(request);
  const waitMs = readWaitMs(request);
  const gone = clientSignal(reply);
  await jobs.shelf.find(id)?.wait(waitMs, gone);
  return sendOwn(id, reply, jobs) ?? sendFound(id, reply, await jobs.shared()?.findInTime(id, waitMs, gone));
}

/** Answers about a job of this process; `undefined` for another id. */
function sendOwn(id: string, reply: FastifyReply, { shelf }: ClientJobs): FastifyReply | undefined {
  const job = shelf.find(id);
  if (job !== undefined) return sendJson(reply, stateOf(job));
  const answer = shelf.read(id);
  return answer === undefined ? undefined : sendEnd(reply, answer);
}

function sendFound(id: string, reply: FastifyReply, found: FoundJob | undefined): FastifyReply {
  return found !== undefined && 'status' in found
    ? sendJson(reply, { id, status: found.status })
    : sendEnd(reply, found?.answer);
}

async function cancel(request: FastifyRequest, reply: FastifyReply, jobs: ClientJobs): Promise<FastifyReply> {
  const id = idOf(request);
  return sendEnd(reply, (await jobs.shelf.cancel(id)) ?? (await jobs.shared()?.cancel(id)));
}

async function purgeQueue(_request: FastifyRequest, reply: FastifyReply, jobs: ClientJobs): Promise<FastifyReply> {
  const removed = await Promise.all([jobs.shelf.purge(), jobs.shared()?.purge() ?? 0]);
  return sendJson(reply, { removed: removed[0] + removed[1], status: 'completed' });
}

function idOf({ params }: FastifyRequest): string {
  return (params as { readonly id: string }).id; // The routes have this parameter.
}

/** @throws HandlerError `NOT_FOUND` where there is no such answer. */
function sendEnd(reply: FastifyReply, answer: Uint8Array | undefined): FastifyReply {
  if (answer !== undefined) return sendEncoded(reply, { body: answer, jsonLength: undefined });
  throw new HandlerError(
    'NOT_FOUND',
    'Expected the id of a job of this token and endpoint that is running or whose result is still kept, got another id.',
  );
}

/** AWS Lambda hands its requests to a server that never listens, and that may be frozen after the answer. */
function canGoOn({ server }: FastifyRequest): boolean {
  return server.server.listening;
}

/** @throws HandlerError `NOT_READY` or `NOT_FOUND` where nobody could ask for the end of a job. */
function requireGoingOn(request: FastifyRequest, drain: Drain): void {
  if (drain.isDraining())
    throw new HandlerError('NOT_READY', 'Expected a running service, got one that is about to stop. Ask another one.');
  if (canGoOn(request)) return;
  throw new HandlerError(
    'NOT_FOUND',
    'Expected a process that lives on after its answer, got AWS Lambda. Use POST /runsync.',
  );
}
