import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { builtBundle } from '../../../support/built-bundle.ts';
import { type ServerProcess, startServerProcess } from '../../../support/bundle.ts';
import {
  bytes,
  dataUri,
  expectError,
  type HttpAnswer,
  outputOf,
  postInference,
  readAnswer,
  send,
} from '../../../support/server.ts';

const PROBES = 20;

let server: ServerProcess;
const agent = new http.Agent({ keepAlive: true });

beforeAll(async () => {
  server = await startServerProcess(builtBundle());
});

afterAll(async () => {
  agent.destroy();
  server?.kill('SIGTERM');
  await server?.exit;
});

/** Many captions of many images, by the widest beam search. */
const heavy = {
  inputs: [
    bytes(
      'img_url',
      Array.from({ length: 32 }, (_, index) => dataUri('chelsea', String(index))),
    ),
  ],
  parameters: { num_beams: 32, num_return_sequences: 32, max_new_tokens: 40, min_new_tokens: 40 },
};

interface Watched {
  readonly answer: HttpAnswer;
  readonly tookMs: number;
  /** How long each liveness probe took during the request, shortest first. */
  readonly probeMs: readonly number[];
}

/** Sends a request, and probes liveness until it is answered, at most PROBES times. */
async function watch(body: object): Promise<Watched> {
  const startMs = performance.now();
  let isAnswered = false;
  const answering = postInference(server.url, body).then((answer) => {
    isAnswered = true;
    return { answer, tookMs: performance.now() - startMs };
  });
  const times: number[] = [];
  while (times.length < PROBES && !isAnswered) {
    await sleep(15);
    const probeStartMs = performance.now();
    const probe = await send(server.url, { path: '/v2/health/live', agent });
    expect(probe).toMatchObject({ status: 200, text: '{"live":true}' });
    times.push(performance.now() - probeStartMs);
  }
  return { ...(await answering), probeMs: times.toSorted((a, b) => a - b) };
}

test('the service answers liveness probes soon while it computes', { timeout: 300_000 }, async () => {
  const { answer, tookMs, probeMs } = await watch(heavy);
  expect(outputOf(readAnswer(answer), 'generated_output').shape).toEqual([32, 32]);
  expect(tookMs, 'milliseconds of computing').toBeGreaterThan(500);
  expect(probeMs).toHaveLength(PROBES);
  expect(probeMs[PROBES / 2], 'the median').toBeLessThan(50);
  expect(probeMs.at(-1), 'the slowest').toBeLessThan(250);
});

test('the service answers liveness probes soon while it refuses a prompt of megabytes', async () => {
  const { answer, probeMs } = await watch({
    inputs: [bytes('img_url', [dataUri('small')]), bytes('text', ['dog '.repeat(2_000_000)])],
  });
  expectError(answer, 400, 'PROMPT_TOO_LONG');
  expect(probeMs.at(-1), 'the slowest').toBeLessThan(500);
});
