import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Attack } from '../attacks/attack.ts';
import { captionOnce, startAttackedServer } from '../attacks/attacked-server.ts';

const PORT = 8_506;
const DESCRIPTORS = 80;
const CONNECTIONS = 200;
const REQUESTS = 20;

/** More connections than the process may have descriptors; then they go, and others ask. */
export const lowDescriptors: Attack = {
  name: `${CONNECTIONS} connections with ${DESCRIPTORS} descriptors`,
  async run(checkout) {
    const server = await startAttackedServer(checkout, PORT, {}, undefined, DESCRIPTORS);
    try {
      const sockets = Array.from({ length: CONNECTIONS }, () =>
        connect(PORT, '127.0.0.1').on('error', () => undefined),
      );
      await sleep(3_000);
      for (const socket of sockets) socket.destroy();
      await sleep(1_000);
      let answered = 0;
      for (let request = 0; request < REQUESTS; request += 1)
        answered += Number((await captionOnce(server, 'bystander', 5_000)).status === 200);
      return { 'alive afterwards': String(server.isAlive()), requests: REQUESTS, answered };
    } finally {
      await server.stop();
    }
  },
};
