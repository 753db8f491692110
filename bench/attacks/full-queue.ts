import type { Attack } from './attack.ts';
import {
  type AttackedServer,
  captionOnce,
  shippedPicture,
  slowestBystander,
  startAttackedServer,
} from './attacked-server.ts';

const PORT = 8_489;
const REQUESTS = 250;

/** One caption with 32 beams, as one of many requests. */
const body = JSON.stringify({
  inputs: [
    { name: 'img_url', shape: [1], datatype: 'BYTES', data: [`data:;base64,${shippedPicture}`] },
    { name: 'num_beams', shape: [1], datatype: 'INT64', data: [32] },
    { name: 'max_new_tokens', shape: [1], datatype: 'INT64', data: [55] },
    { name: 'min_new_tokens', shape: [1], datatype: 'INT64', data: [55] },
  ],
});

async function ask({ url }: AttackedServer): Promise<void> {
  const answer = await fetch(`${url}/v2/models/captioning/infer`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: 'Bearer attacker' },
    body,
  }).catch(() => undefined);
  await answer?.arrayBuffer().catch(() => undefined);
}

/** One token fills the queue with dear captions; another asks for one caption at a time. */
export const fullQueue: Attack = {
  name: 'turns: 250 waiting captions of 32 beams of one token',
  async run(checkout) {
    const server = await startAttackedServer(checkout, PORT, { BLIP_MAX_QUEUE_SIZE: String(REQUESTS) });
    try {
      await captionOnce(server, 'bystander');
      const startMs = performance.now();
      const attack = Promise.all(Array.from({ length: REQUESTS }, () => ask(server)));
      const slowestMs = await slowestBystander(server, attack);
      return {
        'seconds of the attack': ((performance.now() - startMs) / 1_000).toFixed(1),
        'slowest bystander, ms': Number.isFinite(slowestMs) ? Math.round(slowestMs) : 'refused',
      };
    } finally {
      await server.stop();
    }
  },
};
