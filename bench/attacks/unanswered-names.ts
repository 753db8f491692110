import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Attack } from './attack.ts';
import { startAttackedServer } from './attacked-server.ts';
import { askFor } from './slow-hosts.ts';

const PORT = 8_425;
const NAMES = 60;
const HEAD_START_MS = 1_000;
/** A name server on this machine that takes questions and answers none. */
const SILENT_SERVER = '127.0.0.153';

const picture = readFileSync(fileURLToPath(new URL('../../examples/two-cats.png', import.meta.url)));

/**
 * Needs a token: a request names 60 hosts that no name server answers for. The machine has to ask a silent server, which
 * only a mount namespace changes for one program:
 *
 *     echo nameserver 127.0.0.153 > /tmp/resolv.conf
 *     unshare -m sh -c 'mount --bind /tmp/resolv.conf /etc/resolv.conf && npx tsx bench/attacks.ts . --only names'
 */
export const unansweredNames: Attack = {
  name: '60 names without an answer',
  async run(checkout) {
    if (!readFileSync('/etc/resolv.conf', 'utf8').includes(SILENT_SERVER)) return { skipped: 'see the program' };
    const names = createSocket('udp4');
    names.bind(53, SILENT_SERVER);
    await once(names, 'listening');
    const host = await startHost();
    const server = await startAttackedServer(checkout, PORT, { BLIP_IMAGE_PRIVATE_HOSTS: 'localhost' });
    try {
      const { port } = host.address() as AddressInfo; // It listens on a port.
      const dead = Array.from({ length: NAMES }, (_, index) => `http://name-${index}.attack.example/`);
      askFor(server, dead, 'attacker').catch(() => undefined);
      await sleep(HEAD_START_MS);
      const { status, ms } = await askFor(server, [`http://localhost:${port}/`], 'bystander');
      return { "another client's image by a name, ms": Math.round(ms), 'its status': status };
    } finally {
      await server.stop();
      host.closeAllConnections();
      host.close();
      names.close();
    }
  },
};

async function startHost(): Promise<Server> {
  const host = createServer((_request, response) => void response.end(picture));
  host.listen(0, '127.0.0.1');
  await once(host, 'listening');
  return host;
}
