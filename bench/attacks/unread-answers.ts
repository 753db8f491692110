import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Attack } from './attack.ts';
import { startAttackedServer } from './attacked-server.ts';

const PORT = 8_411;
const REQUEST_BYTES = 65_536;
const WATCH_MS = 8_000;

/** Needs no token: many requests on one connection, whose answers the client never reads. */
export const unreadAnswers: Attack = {
  name: 'pipelined requests, answers unread',
  async run(checkout) {
    const server = await startAttackedServer(checkout, PORT);
    try {
      const beforeMegabytes = server.residentMegabytes();
      const request = 'GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n';
      const socket = connect(PORT, '127.0.0.1');
      socket.pause().on('error', () => undefined);
      socket.write(request.repeat(Math.floor(REQUEST_BYTES / request.length)));
      await sleep(WATCH_MS);
      socket.destroy();
      return { 'memory added, MB': Math.round(server.peakMegabytes() - beforeMegabytes) };
    } finally {
      await server.stop();
    }
  },
};
