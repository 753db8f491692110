import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Attack } from './attack.ts';
import { type AttackedServer, startAttackedServer } from './attacked-server.ts';

const PORT = 8_424;
const SLOW_URLS = 250;
const HEAD_START_MS = 1_500;

const picture = readFileSync(fileURLToPath(new URL('../../examples/two-cats.png', import.meta.url)));

/** Needs a token: a request names 250 images of hosts that answer a few bytes and then nothing. */
export const slowHosts: Attack = {
  name: '250 slow URLs',
  async run(checkout) {
    const host = await startHost();
    const server = await startAttackedServer(checkout, PORT, { BLIP_IMAGE_PRIVATE_HOSTS: '*' });
    try {
      const { port } = host.address() as AddressInfo; // It listens on a port.
      // Nine addresses of this machine, so that no bound of one host helps.
      const slow = Array.from(
        { length: SLOW_URLS },
        (_, index) => `http://127.0.0.${(index % 9) + 1}:${port}/slow/${index}`,
      );
      const attack = askFor(server, slow, 'attacker');
      await sleep(HEAD_START_MS);
      const { status, ms } = await askFor(server, [`http://127.0.0.1:${port}/picture`], 'bystander');
      attack.catch(() => undefined);
      return { "another client's image, ms": Math.round(ms), 'its status': status };
    } finally {
      await server.stop();
      host.closeAllConnections();
      host.close();
    }
  },
};

async function startHost(): Promise<Server> {
  const host = createServer(({ url }, response) => {
    if (url === '/picture') response.end(picture);
    else response.writeHead(200, { 'content-length': picture.length }).write(picture.subarray(0, 100));
  });
  host.listen(0, '0.0.0.0');
  await once(host, 'listening');
  return host;
}

/** Asks for captions of images. @returns the status, 0 for no answer, and the milliseconds. */
export async function askFor(
  { url }: AttackedServer,
  images: readonly string[],
  token: string,
): Promise<{ readonly status: number; readonly ms: number }> {
  const startMs = performance.now();
  const inputs = [{ name: 'img_url', shape: [images.length], datatype: 'BYTES', data: images }];
  const answer = await fetch(`${url}/v2/models/captioning/infer`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify({ inputs }),
  }).catch(() => undefined);
  await answer?.arrayBuffer().catch(() => undefined);
  return { status: answer?.status ?? 0, ms: performance.now() - startMs };
}
