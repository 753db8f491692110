import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Attack } from './attack.ts';
import { captionOnce, startAttackedServer } from './attacked-server.ts';

const PORT = 8_488;
const RUN_LIMIT_MS = 10_000;
const END_LIMIT_SECONDS = 60;
const hook = fileURLToPath(new URL('hang-in-worker.cjs', import.meta.url));

/** A worker whose native code never returns: what clients and the platform see of it. */
export const hungWorker: Attack = {
  name: 'hang: a worker computes for ever, with a run limit of 10 s',
  async run(checkout) {
    const server = await startAttackedServer(checkout, PORT, {
      ATTACKED_PROGRAM: `${checkout}/dist/serve.js`,
      NODE_OPTIONS: `--require ${hook}`,
      BLIP_RUN_LIMIT_MS: String(RUN_LIMIT_MS),
    });
    try {
      await captionOnce(server, 'bystander');
      const hung = Promise.race([captionOnce(server, 'bystander'), sleep(60_000, { status: 0, ms: 60_000 })]);
      await sleep(RUN_LIMIT_MS * 0.7);
      const { status: readiness } = await fetch(`${server.url}/v2/health/ready`);
      const { status, ms } = await hung;
      const seconds = await server.secondsToEnd('SIGTERM', END_LIMIT_SECONDS);
      return {
        'readiness after 7 s': readiness,
        'its request': status === 0 ? 'no answer within 60 s' : `${status} after ${(ms / 1_000).toFixed(1)} s`,
        'seconds from SIGTERM to the end':
          seconds >= END_LIMIT_SECONDS ? `more than ${END_LIMIT_SECONDS}` : seconds.toFixed(1),
      };
    } finally {
      await server.stop();
    }
  },
};
