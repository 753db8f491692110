import { setTimeout as sleep } from 'node:timers/promises';
import type { Attack } from './attack.ts';
import {
  type AttackedServer,
  captionOnce,
  shippedPicture,
  slowestBystander,
  startAttackedServer,
} from './attacked-server.ts';

const PORT = 8_487;
const TIMEOUT_MICROSECONDS = 1_000_000;
const IDLE_MS = 1_500;
const PATIENCE_MS = 180_000;

/** 256 prompts about one picture, with 32 beams each: 58 KB that ask for 8,192 sequences. */
const body = JSON.stringify({
  parameters: { timeout: TIMEOUT_MICROSECONDS },
  inputs: [
    { name: 'img_url', shape: [1], datatype: 'BYTES', data: [`data:;base64,${shippedPicture}`] },
    { name: 'text', shape: [256], datatype: 'BYTES', data: Array.from({ length: 256 }, (_, index) => `a ${index}`) },
    { name: 'num_beams', shape: [1], datatype: 'INT64', data: [32] },
    { name: 'max_new_tokens', shape: [1], datatype: 'INT64', data: [55] },
    { name: 'min_new_tokens', shape: [1], datatype: 'INT64', data: [55] },
  ],
});

async function ask({ url }: AttackedServer): Promise<number> {
  const answer = await fetch(`${url}/v2/models/captioning/infer`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: 'Bearer attacker' },
    body,
  }).catch(() => undefined);
  await answer?.arrayBuffer().catch(() => undefined);
  return answer?.status ?? 0;
}

/** Seconds until the process computes nothing for `IDLE_MS`. */
async function secondsUntilIdle({ cpuSeconds }: AttackedServer): Promise<number> {
  const startMs = performance.now();
  let seen = cpuSeconds();
  let busyMs = startMs;
  while (performance.now() - busyMs < IDLE_MS && performance.now() - startMs < PATIENCE_MS) {
    await sleep(100);
    if (cpuSeconds() - seen > 0.02) busyMs = performance.now();
    seen = cpuSeconds();
  }
  return (busyMs - startMs) / 1_000;
}

/** One request for many sequences, whose time is over after a second. */
export const manyBeams: Attack = {
  name: 'work: 256 rows x 32 beams, with a deadline of 1 s',
  async run(checkout) {
    const server = await startAttackedServer(checkout, PORT);
    try {
      await captionOnce(server, 'bystander');
      const status = await ask(server);
      const seconds = await secondsUntilIdle(server);
      const peakMegabytes = Math.round(server.peakMegabytes());
      const bystanderMs = await slowestBystander(server, ask(server));
      return {
        status,
        'seconds computed after the answer': seconds.toFixed(1),
        'peak memory, MB': peakMegabytes,
        'slowest bystander, ms': Math.round(bystanderMs),
      };
    } finally {
      await server.stop();
    }
  },
};
