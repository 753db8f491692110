import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Attack } from './attack.ts';
import { type AttackedServer, captionOnce, startAttackedServer } from './attacked-server.ts';

const PORT = 8_423;
const GRPC_PORT = 8_424;
const SILENT_COUNT = 1_500;
const UPLOAD_COUNT = 40;
const UPLOAD_BYTES = 60_000_000;
const WATCH_MS = 20_000;
const FILE_LIMIT = 512;

/** Whether a new client is answered. */
async function probe({ url }: AttackedServer): Promise<string> {
  const answer = await fetch(`${url}/v2/health/live`, { signal: AbortSignal.timeout(5_000) }).catch(() => undefined);
  return answer === undefined ? 'not answered' : `answered ${answer.status}`;
}

function open(port: number, count: number): readonly Socket[] {
  return Array.from({ length: count }, () =>
    connect(port, '127.0.0.1')
      .on('error', () => undefined)
      .resume(),
  );
}

/** Needs no token: connections that say nothing, to a process that may open few files. */
function silentConnections(name: string, port: number): Attack {
  return {
    name,
    async run(checkout) {
      const values = { BLIP_GRPC_PORT: String(GRPC_PORT) };
      const server = await startAttackedServer(checkout, PORT, values, 'ignore', FILE_LIMIT);
      try {
        const sockets = open(port, SILENT_COUNT);
        await sleep(1_000);
        const during = await probe(server);
        await sleep(WATCH_MS);
        const left = sockets.filter(({ destroyed }) => !destroyed).length;
        for (const socket of sockets) socket.destroy();
        return { 'a new client meanwhile': during, [`open after ${WATCH_MS / 1_000} s`]: left };
      } finally {
        await server.stop();
      }
    },
  };
}

/** Needs a token: uploads of 60 MB that stop before their ends. */
const heldUploads: Attack = {
  name: `${UPLOAD_COUNT} uploads of ${UPLOAD_BYTES / 1e6} MB that do not end`,
  async run(checkout) {
    const server = await startAttackedServer(checkout, PORT);
    try {
      const beforeMegabytes = server.residentMegabytes();
      const head =
        'POST /v2/models/captioning/infer HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer attacker\r\n' +
        `Content-Length: ${UPLOAD_BYTES + 1}\r\n\r\n`;
      const part = Buffer.alloc(UPLOAD_BYTES, ' ');
      const sockets = open(PORT, UPLOAD_COUNT);
      for (const socket of sockets) {
        socket.write(head);
        socket.write(part);
      }
      await sleep(WATCH_MS);
      const { status } = await captionOnce(server, 'bystander');
      const figures = {
        'memory added, MB': Math.round(server.peakMegabytes() - beforeMegabytes),
        'another token is answered': status,
      };
      for (const socket of sockets) socket.destroy();
      return figures;
    } finally {
      await server.stop();
    }
  },
};

export const heldConnectionAttacks: readonly Attack[] = [
  silentConnections(`${SILENT_COUNT} silent connections, ${FILE_LIMIT} files`, PORT),
  silentConnections(`${SILENT_COUNT} silent connections to gRPC, ${FILE_LIMIT} files`, GRPC_PORT),
  heldUploads,
];
