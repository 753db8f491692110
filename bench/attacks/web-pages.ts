import http from 'node:http';
import type { Attack } from './attack.ts';
import { startAttackedServer } from './attacked-server.ts';

const PORT = 8_425;

/** A request as a browser makes it for a page. */
interface PageRequest {
  readonly title: string;
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
}

const fromPage = { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' };
const requests: readonly PageRequest[] = [
  { title: 'DNS rebinding reads metadata', method: 'GET', path: '/v2/models', headers: { host: 'evil.example' } },
  { title: 'DNS rebinding asks', method: 'POST', path: '/predictions', headers: { host: 'evil.example' } },
  {
    title: 'a page posts text',
    method: 'POST',
    path: '/predictions',
    headers: { ...fromPage, 'content-type': 'text/plain' },
  },
  { title: 'a form cancels jobs', method: 'POST', path: '/purge-queue', headers: fromPage },
  { title: 'a picture loads metrics', method: 'GET', path: '/metrics', headers: { 'sec-fetch-site': 'cross-site' } },
];

function statusOf({ method, path, headers }: PageRequest): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = http.request({ host: '127.0.0.1', port: PORT, method, path, headers }, (response) => {
      response.resume().once('end', () => resolve(response.statusCode ?? 0));
    });
    request.once('error', reject).end(method === 'POST' ? '{}' : undefined);
  });
}

/** A web page in a browser on the machine of a server without tokens. */
export const webPages: Attack = {
  name: 'a web page asks a server without tokens',
  async run(checkout) {
    const server = await startAttackedServer(checkout, PORT, { BLIP_API_TOKENS: '' });
    try {
      const entries = [];
      for (const request of requests) entries.push([request.title, await statusOf(request)] as const);
      return Object.fromEntries(entries);
    } finally {
      await server.stop();
    }
  },
};
