import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished } from 'vitest';
import { builtBundle } from '../support/built-bundle.ts';
import { type ServerProcess, startServerProcess } from '../support/bundle.ts';
import { freePort } from '../support/free-port.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requiresProgram } from '../support/required-program.ts';
import { bytes, dataUri, INFER_PATH, send } from '../support/server.ts';
import { imageServerForTest } from '../support/with-server.ts';

/** Three replicas behind HAProxy, as deploy/haproxy.cfg sets it up, while clients ask without a pause. */

const CLIENTS = 6;
/** HAProxy asks each replica for its health every 500 ms: after this time it knows. */
const NOTICED_MS = 1_500;
const TOKEN = 'secret-token';

const configuration = fileURLToPath(new URL('../../deploy/haproxy.cfg', import.meta.url));
const bundle = builtBundle();

const body = JSON.stringify({
  inputs: [bytes('img_url', [dataUri('small')]), bytes('text', ['a picture of'])],
  parameters: { max_new_tokens: 8 },
});

/** One replica, at an address that it keeps when it starts again. */
class Replica {
  readonly port: number;
  #process: ServerProcess | undefined;

  constructor(port: number) {
    this.port = port;
  }

  async start(): Promise<void> {
    const variables = { PORT: String(this.port), HOST: '127.0.0.1', BLIP_API_TOKENS: TOKEN, LOG_LEVEL: 'info' };
    this.#process = await startServerProcess(bundle, variables);
  }

  /** @returns its exit code. */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null> {
    const running = this.#process;
    if (running === undefined) return null;
    this.#process = undefined;
    running.kill(signal);
    return (await running.exit).exitCode;
  }
}

async function startReplicas(): Promise<readonly Replica[]> {
  const replicas: Replica[] = [];
  for (let count = 0; count < 3; count += 1) replicas.push(new Replica(await freePort()));
  onTestFinished(async () => void (await Promise.all(replicas.map((replica) => replica.end('SIGKILL')))));
  for (const replica of replicas) await replica.start();
  return replicas;
}

/** @returns the URL at which HAProxy listens. */
async function startHaproxy(replicas: readonly Replica[]): Promise<string> {
  const port = await freePort();
  const addresses = replicas.map((replica, index) => [`BLIP_REPLICA_${index + 1}`, `127.0.0.1:${replica.port}`]);
  const environment = { PATH: process.env['PATH'], BLIP_BIND: `127.0.0.1:${port}`, ...Object.fromEntries(addresses) };
  const haproxy: ChildProcess = spawn('haproxy', ['-f', configuration, '-db'], { env: environment, stdio: 'ignore' });
  onTestFinished(async () => {
    if (haproxy.exitCode !== null) return;
    haproxy.kill('SIGKILL');
    await once(haproxy, 'exit');
  });
  const url = `http://127.0.0.1:${port}`;
  await expect
    .poll(
      () =>
        send(url, { path: '/v2/health/ready' }).then(
          ({ status }) => status,
          () => 0,
        ),
      { timeout: 10_000 },
    )
    .toBe(200);
  return url;
}

/** An answer's status, or the code of a connection that broke. */
type Outcome = number | string;

/** Clients that ask one request after the other, each on a connection that it keeps. */
class Load {
  readonly outcomes: Outcome[] = [];
  #isOver = false;
  readonly #running: Promise<unknown>;

  constructor(url: string) {
    const agent = new http.Agent({ keepAlive: true });
    const ask = async () => {
      while (!this.#isOver) this.outcomes.push(await outcomeOf(url, agent));
    };
    this.#running = Promise.all(Array.from({ length: CLIENTS }, ask)).finally(() => agent.destroy());
  }

  /** Forgets the outcomes until now. @returns how many each one was. */
  take(): Readonly<Record<Outcome, number>> {
    const counts: Record<Outcome, number> = {};
    for (const outcome of this.outcomes.splice(0)) counts[outcome] = (counts[outcome] ?? 0) + 1;
    return counts;
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await this.#running;
  }
}

async function outcomeOf(url: string, agent: http.Agent): Promise<Outcome> {
  const headers = { authorization: `Bearer ${TOKEN}` };
  try {
    return (await send(url, { method: 'POST', path: INFER_PATH, headers, body, agent })).status;
  } catch (thrown) {
    return thrown instanceof Error && 'code' in thrown ? String(thrown.code) : String(thrown);
  }
}

requiresProgram('redis-server')(
  'a job of RunPod fails clearly at another replica when its own was killed',
  async () => {
    const redis = await RedisServer.startForTest();
    const images = await imageServerForTest();
    const variables = { BLIP_REDIS_URL: redis.url, LOG_LEVEL: 'info' };
    const [dying, living] = await Promise.all([1, 2].map(() => startServerProcess(bundle, variables)));
    if (dying === undefined || living === undefined) throw new Error('Expected two servers, got fewer.');
    onTestFinished(() => {
      for (const server of [dying, living]) server.kill('SIGKILL');
    });
    const job = JSON.stringify({ input: { img_url: `${images.url}/held.png` } });
    const { id } = JSON.parse((await send(dying.url, { method: 'POST', path: '/run', body: job })).text);
    await images.held(1);
    const status = async (path: string) => JSON.parse((await send(living.url, { path: `/${path}/${id}` })).text);
    expect(await status('status')).toEqual({ id, status: 'IN_QUEUE' });
    dying.kill('SIGKILL');
    const failed = await status('status-sync'); // It waits for the lease of the process to end.
    expect(failed).toMatchObject({ id, status: 'FAILED', error: expect.stringMatching(/^NOT_READY: /) });
    living.kill('SIGTERM');
    expect(await living.exit).toMatchObject({ exitCode: 0, stderr: '' });
  },
  60_000,
);

requiresProgram('haproxy')('HAProxy accepts its configuration without a warning', () => {
  const names = ['BLIP_BIND', 'BLIP_REPLICA_1', 'BLIP_REPLICA_2', 'BLIP_REPLICA_3'];
  const env = Object.fromEntries(names.map((name, index) => [name, `127.0.0.1:${8080 + index}`]));
  const { status, stdout, stderr } = spawnSync('haproxy', ['-c', '-f', configuration], {
    env: { PATH: process.env['PATH'], ...env },
    encoding: 'utf8',
  });
  expect({ status, output: stdout + stderr }).toEqual({
    status: 0,
    output: expect.stringMatching(/^Configuration file is valid\s*$/),
  });
});

requiresProgram('haproxy')(
  'a rolling restart fails no request; kill -9 costs what ran there, and no more',
  async () => {
    const replicas = await startReplicas();
    const load = new Load(await startHaproxy(replicas));
    for (const replica of replicas) {
      expect(await replica.end('SIGTERM')).toBe(0);
      await replica.start();
      await sleep(NOTICED_MS);
    }
    const restarted = load.take();
    expect(restarted).toEqual({ 200: expect.any(Number) });
    expect(restarted[200]).toBeGreaterThan(3 * CLIENTS);

    await replicas[0]?.end('SIGKILL');
    await sleep(NOTICED_MS);
    const { 200: answered, ...failed } = load.take();
    expect(answered).toBeGreaterThan(CLIENTS);
    // 502, or on a connection that had requests before, its end: both tell clients that they may ask again.
    expect(Object.keys(failed).filter((outcome) => !['502', 'ECONNRESET'].includes(outcome))).toEqual([]);
    const failedCount = Object.values(failed).reduce((sum, count) => sum + count, 0);
    expect(failedCount).toBeLessThanOrEqual(CLIENTS);
    await sleep(500);
    expect(load.take()).toEqual({ 200: expect.any(Number) });
    await replicas[0]?.start();
    await load.end();
    expect(load.take()).toEqual({ 200: expect.any(Number) });
  },
  120_000,
);
