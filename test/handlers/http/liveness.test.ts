import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Bundle, buildBundle, type ServerProcess, startServerProcess } from '../../support/bundle.ts';
import { bytes, dataUri, outputOf, postInference, readAnswer, send } from '../../support/server.ts';

const PROBES = 20;

let bundle: Bundle;
let server: ServerProcess;
const agent = new http.Agent({ keepAlive: true });

beforeAll(async () => {
  bundle = buildBundle();
  server = await startServerProcess(bundle, { LOG_LEVEL: 'info' });
});

afterAll(async () => {
  agent.destroy();
  server?.kill('SIGTERM');
  await server?.exit;
  bundle?.remove();
});

/** Many captions of many images, by beam search as wide as it may be. */
const heavy = {
  inputs: [
    bytes(
      'img_url',
      Array.from({ length: 32 }, (_, index) => dataUri('chelsea', String(index))),
    ),
  ],
  parameters: { num_beams: 32, num_return_sequences: 32, max_new_tokens: 40, min_new_tokens: 40 },
};

test('the service says that it is alive while it computes', { timeout: 300_000 }, async () => {
  const startMs = performance.now();
  let finishedMs = Number.POSITIVE_INFINITY;
  const captioned = postInference(server.url, heavy).then((answer) => {
    finishedMs = performance.now();
    return answer;
  });
  const times: number[] = [];
  while (times.length < PROBES && finishedMs === Number.POSITIVE_INFINITY) {
    await sleep(15);
    const askedMs = performance.now();
    const answer = await send(server.url, { path: '/v2/health/live', agent });
    expect(answer).toMatchObject({ status: 200, text: '{"live":true}' });
    if (finishedMs === Number.POSITIVE_INFINITY) times.push(performance.now() - askedMs);
  }
  const answer = readAnswer(await captioned);
  expect(outputOf(answer, 'generated_output').shape).toEqual([32, 32]);
  expect(finishedMs - startMs, 'milliseconds of computing').toBeGreaterThan(500);
  expect(times.length, 'probes answered meanwhile').toBe(PROBES);
  const sorted = times.toSorted((a, b) => a - b);
  expect(sorted[PROBES / 2], 'the median').toBeLessThan(50);
  expect(sorted.at(-1), 'the slowest').toBeLessThan(250);
});
