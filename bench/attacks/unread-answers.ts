import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Attack } from './attack.ts';
import { startAttackedServer } from './attacked-server.ts';

const PORT = 8_421;
const REQUEST_BYTES = 65_536;
const WATCH_MS = 8_000;

/** Needs no token: many requests on one connection or several, whose answers the client never reads. */
function unreadAnswers(name: string, heads: readonly string[], connectionCount: number): Attack {
  return {
    name,
    async run(checkout) {
      const server = await startAttackedServer(checkout, PORT);
      try {
        const beforeMegabytes = server.residentMegabytes();
        const sockets = Array.from({ length: connectionCount }, (_, index) => {
          const request = `${heads[index % heads.length] ?? ''}\r\nHost: 127.0.0.1\r\n\r\n`;
          const socket = connect(PORT, '127.0.0.1');
          socket.pause().on('error', () => undefined);
          socket.write(request.repeat(Math.floor(REQUEST_BYTES / request.length)));
          return socket;
        });
        await sleep(WATCH_MS);
        const figures = {
          'memory added, MB': Math.round(server.peakMegabytes() - beforeMegabytes),
          'CPU, s': server.cpuSeconds(),
        };
        for (const socket of sockets) socket.destroy();
        return server.isAlive() ? figures : { ...figures, process: 'dead' };
      } finally {
        await server.stop();
      }
    },
  };
}

const bundle = 'GET /docs/swagger-ui-bundle.js HTTP/1.1';
const zipped = '\r\nAccept-Encoding: gzip';
const openPaths = [
  bundle,
  `${bundle}${zipped}`,
  `GET /docs/swagger-ui.css HTTP/1.1${zipped}`,
  `GET /openapi.json HTTP/1.1${zipped}`,
  'GET / HTTP/1.1\r\nAccept: text/html',
  'GET /metrics HTTP/1.1',
  'GET /v2/models/captioning HTTP/1.1',
  'GET /v2/health/ready HTTP/1.1',
  'GET /nothing HTTP/1.1',
  'POST /v2/models/captioning/infer HTTP/1.1\r\nContent-Length: 0',
  'PATCH / HTTP/1.1',
];

export const unreadAnswerAttacks: readonly Attack[] = [
  unreadAnswers('pipelined requests, answers unread', [bundle], 1),
  unreadAnswers('pipelined requests on 100 connections, answers unread', [bundle], 100),
  unreadAnswers('pipelined requests for every open path on 100 connections, answers unread', openPaths, 100),
];
