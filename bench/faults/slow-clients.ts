import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Attack } from '../attacks/attack.ts';
import { captionOnce, startAttackedServer } from '../attacks/attacked-server.ts';

const PORT = 8_503;
const SLOW_CLIENTS = 500;
const DRIP_MS = 200;
const RUN_MS = 10_000;

/** Many clients that send a byte of their request now and then, beside one that asks as usual. */
export const slowClients: Attack = {
  name: `${SLOW_CLIENTS} clients that drip their requests`,
  async run(checkout) {
    const server = await startAttackedServer(checkout, PORT);
    try {
      const beforeMegabytes = server.residentMegabytes();
      const sockets = Array.from({ length: SLOW_CLIENTS }, openDripping);
      const results = [];
      const endMs = performance.now() + RUN_MS;
      while (performance.now() < endMs) results.push(await captionOnce(server, 'bystander'));
      for (const socket of sockets) socket.destroy();
      return {
        'others answered': results.filter(({ status }) => status === 200).length,
        'others lost': results.filter(({ status }) => status !== 200).length,
        'slowest, ms': Math.round(Math.max(...results.map(({ ms }) => ms))),
        'memory added, MB': Math.round(server.peakMegabytes() - beforeMegabytes),
      };
    } finally {
      await server.stop();
    }
  },
};

function openDripping(): Socket {
  const socket = connect(PORT, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write('POST /v2/models/captioning/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer attacker\r\n');
  socket.write('Content-Length: 1000000\r\n\r\n');
  void drip(socket);
  return socket;
}

async function drip(socket: Socket): Promise<void> {
  while (!socket.destroyed) {
    socket.write(' ');
    await sleep(DRIP_MS);
  }
}
