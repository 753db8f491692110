import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished } from 'vitest';
import { JobRecords } from '../../../../handlers/http/doors/runpod/job-records.ts';
import { RedisConnection } from '../../../../handlers/http/doors/runpod/redis-connection.ts';
import { SharedJobs } from '../../../../handlers/http/doors/runpod/shared-jobs.ts';
import { checkpointFolder } from '../../../support/goldens.ts';
import { RedisServer } from '../../../support/redis-server.ts';
import { requiresProgram } from '../../../support/required-program.ts';
import { dataUri, expectError, type HttpAnswer, type RunningServer, send } from '../../../support/server.ts';
import { imageServerForTest, serverForTest } from '../../../support/with-server.ts';

/** RunPod's jobs of several replicas that share a real Redis. */

const withRedis = requiresProgram('redis-server');

const checkpoint = checkpointFolder('narrow-vision');
const quick = { input: { img_url: dataUri('small'), max_new_tokens: 3 } };
const ended = { delayTime: expect.any(Number), executionTime: expect.any(Number) };

/** One replica, as a client with a token asks it. */
class Replica {
  readonly server: RunningServer;
  readonly #token: string;

  constructor(server: RunningServer, token: string) {
    this.server = server;
    this.#token = token;
  }

  as(token: string): Replica {
    return new Replica(this.server, token);
  }

  ask(path: string, body?: object): Promise<HttpAnswer> {
    const isQuestion = path.startsWith('/status') || path === '/health';
    return send(this.server.url, {
      method: isQuestion ? 'GET' : 'POST',
      path: `/v2/captioning${path}`,
      headers: { authorization: `Bearer ${this.#token}` },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  }

  /** An answer, which must be a success. */
  async read(path: string, body?: object) {
    const answer = await this.ask(path, body);
    expect(answer, answer.text).toMatchObject({ status: 200 });
    return JSON.parse(answer.text);
  }

  async run(body: object): Promise<string> {
    return (await this.read('/run', body)).id;
  }
}

async function startReplicas(redis: RedisServer): Promise<readonly [Replica, Replica]> {
  const settings = { checkpoint, redisUrl: redis.url, apiTokens: ['one', 'two'] };
  const [first, second] = await Promise.all([serverForTest(settings), serverForTest(settings)]);
  return [new Replica(first, 'one'), new Replica(second, 'one')];
}

/** A job that runs until the server of images answers, and the server. */
async function heldJob() {
  const images = await imageServerForTest();
  return { images, held: { input: { img_url: `${images.url}/held.png`, max_new_tokens: 3 } } };
}

withRedis('a job is asked for at another replica, by its token and endpoint alone', async () => {
  const [one, other] = await startReplicas(await RedisServer.startForTest());
  const { images, held } = await heldJob();
  const job = await one.run(held);
  await images.held(1);
  expect(await other.read(`/status/${job}`)).toEqual({ id: job, status: 'IN_QUEUE' });
  expectError(await other.as('two').ask(`/status/${job}`), 404, 'NOT_FOUND');
  expectError(await other.ask(`/status/${randomUUID()}`), 404, 'NOT_FOUND');
  expectError(await other.ask(`/cancel/${randomUUID()}`), 404, 'NOT_FOUND');
  expect(await other.read(`/status-sync/${job}?wait=300`)).toEqual({ id: job, status: 'IN_QUEUE' });
  const waiting = other.read(`/status-sync/${job}?wait=30000`);
  images.release();
  const end = await waiting;
  expect(end).toEqual({ ...ended, id: job, status: 'COMPLETED', output: { generated_output: expect.any(String) } });
  expect(await one.read(`/status/${job}`)).toEqual(end);
  const failing = await one.run({ input: { img_url: 'no base64!' } });
  expect(await other.read(`/status-sync/${failing}?wait=30000`)).toMatchObject({
    status: 'FAILED',
    error: expect.stringMatching(/^IMAGE_SOURCE_INVALID: /),
  });
  const known = await one.read('/runsync', quick);
  await expect.poll(() => other.ask(`/status/${known.id}`).then(({ text }) => JSON.parse(text))).toEqual(known);
});

withRedis('a job is cancelled by another replica, and purged and counted by all', async () => {
  const [one, other] = await startReplicas(await RedisServer.startForTest());
  const { images, held } = await heldJob();
  const job = await one.run(held);
  await images.held(1);
  const cancelled = await other.read(`/cancel/${job}`);
  expect(cancelled).toEqual({ ...ended, id: job, status: 'CANCELLED' });
  expect(await one.read(`/status/${job}`)).toEqual(cancelled);
  expect(one.server.model.model?.queuedItems()).toBe(0);
  const jobs = [await one.run(held), await other.run(held)];
  expect((await other.read('/health')).jobs).toMatchObject({ inQueue: 2 });
  expect((await other.as('two').read('/health')).jobs).toMatchObject({ inQueue: 0 });
  expect(await other.as('two').read('/purge-queue')).toMatchObject({ removed: 0 });
  expect(await other.read('/purge-queue')).toEqual({ removed: 2, status: 'completed' });
  for (const purged of jobs) expect(await one.read(`/status/${purged}`)).toMatchObject({ status: 'CANCELLED' });
  await other.read(`/status-sync/${await one.run(quick)}?wait=30000`);
  const counts = { completed: 1, failed: 0, inProgress: 0, inQueue: 0, retried: 0 };
  expect((await other.read('/health')).jobs).toEqual(counts);
});

withRedis('a replica that drains ends its jobs, and the others answer for them', async () => {
  const [one, other] = await startReplicas(await RedisServer.startForTest());
  const { images, held } = await heldJob();
  const before = await one.run(quick);
  const waiting = await one.run(held);
  await images.held(1);
  const closed = one.server.close();
  await sleep(300);
  expect(await other.read(`/status/${waiting}`)).toEqual({ id: waiting, status: 'IN_QUEUE' });
  images.release();
  await closed;
  for (const job of [before, waiting])
    expect(await other.read(`/status/${job}`)).toMatchObject({ status: 'COMPLETED' });
});

withRedis('the jobs of a process that died fail, and say that they may be submitted again', async () => {
  const redis = await RedisServer.startForTest();
  const server = await serverForTest({ checkpoint, redisUrl: redis.url });
  const replica = new Replica(server, 'none');
  const connection = new RedisConnection(redis.url, { info: () => undefined, warn: () => undefined });
  onTestFinished(() => connection.close());
  const records = new SharedJobs(connection).records(undefined, 'captioning', 1e6);
  const job = randomUUID();
  await records.renew(job, 'a process without a lease', 'IN_PROGRESS');
  const failed = await replica.read(`/status/${job}`);
  expect(failed).toMatchObject({
    id: job,
    status: 'FAILED',
    error: expect.stringMatching(/^NOT_READY: .* Submit the job/),
  });
  expect(await records.end(job, '{}', 1_000)).toBe(false); // It was alive after all, and comes too late.
  expect(await replica.read(`/status/${job}`)).toEqual(failed);
  expect((await replica.read('/health')).jobs).toMatchObject({ failed: 1, inProgress: 0 });
});

withRedis('answers are kept within bounds of bytes and of time', async () => {
  const redis = await RedisServer.startForTest();
  const connection = new RedisConnection(redis.url, { info: () => undefined, warn: () => undefined });
  onTestFinished(() => connection.close());
  const records = new JobRecords(connection, 'scope', 3_500);
  const answer = 'x'.repeat(100);
  for (const [id, keptMs] of [
    ['long', 60_000],
    ['short', 30_000],
    ['late', 60_000],
  ] as const) {
    await records.renew(id, 'owner', 'IN_QUEUE');
    expect(await records.end(id, answer, keptMs, 'completed')).toBe(true);
  }
  expect(await records.running()).toEqual([]);
  expect(await records.read('short')).toEqual({ answer });
  await records.end('fourth', answer, 60_000);
  expect(await records.read('short')).toBeUndefined(); // It would have expired first.
  expect(await records.read('long')).toEqual({ answer });
  expect(await records.counts()).toEqual({ completed: 3, failed: 0 });
  await records.end('brief', answer, 20);
  await sleep(50);
  expect(await records.read('brief')).toBeUndefined();
  const times = await connection.run(async (client) =>
    Promise.all((await client.keys('*')).map(async (key) => [key, await client.pTTL(key)] as const)),
  );
  expect(times.length).toBeGreaterThan(4);
  expect(times.filter(([, milliseconds]) => milliseconds <= 0)).toEqual([]); // -1 for a key that never expires.
});

withRedis('without Redis, jobs are refused for a while, and everything else goes on', async () => {
  const redis = await RedisServer.startForTest();
  const [one, other] = await startReplicas(redis);
  const { images, held } = await heldJob();
  const job = await one.run(held);
  await images.held(1);
  await redis.stop();
  const refused = await one.ask('/run', quick);
  expectError(refused, 503, 'NOT_READY');
  expect(refused.headers['retry-after']).toBe('1');
  expectError(await other.ask(`/status/${job}`), 503, 'NOT_READY');
  expectError(await other.ask(`/cancel/${job}`), 503, 'NOT_READY');
  expect(await one.read(`/status/${job}`)).toEqual({ id: job, status: 'IN_QUEUE' });
  expect(await one.read('/runsync', quick)).toMatchObject({ status: 'COMPLETED' });
  images.release();
  const end = await one.read(`/status-sync/${job}?wait=30000`);
  expect(end).toMatchObject({ status: 'COMPLETED' });
  await expect.poll(() => one.server.model.model?.queuedItems()).toBe(0); // The refused job has left its place.
  await redis.start();
  // Redis has lost everything, and learns the end from the process that has it.
  await expect
    .poll(() => other.ask(`/status/${job}`).then(({ text }) => JSON.parse(text)), { timeout: 15_000 })
    .toEqual(end);
  const later = await other.run(quick);
  expect(await one.read(`/status-sync/${later}?wait=30000`)).toMatchObject({ status: 'COMPLETED' });
});
