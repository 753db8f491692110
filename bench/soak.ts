import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { type AttackedServer, startAttackedServer } from './attacks/attacked-server.ts';

/**
 * Mixes good and bad requests for ten minutes, and prints the server's memory each minute: it must stay flat.
 *
 *     npm run build && npx tsx bench/soak.ts [MINUTES]
 */

const PORT = 8_511;
const MINUTES = Number(process.argv[2] ?? 10);
const CLIENTS = 12;
const PATIENCE_MS = 30_000;

const root = fileURLToPath(new URL('..', import.meta.url));
const picture = readFileSync(`${root}examples/two-cats.png`);
const photo = readFileSync(`${root}test/fixtures/images/rocket.jpg`);
const v2 = '/v2/models/captioning/infer';

/** One kind of request: where it goes, and what it sends. */
interface Kind {
  readonly path: string;
  readonly body: () => Uint8Array | string | FormData;
  readonly headers?: Readonly<Record<string, string>>;
}

function infer(source: string, parameters: object = {}): string {
  return JSON.stringify({
    inputs: [{ name: 'img_url', shape: [1], datatype: 'BYTES', data: [source] }],
    parameters,
  });
}

function inline(bytes: Uint8Array): string {
  return `data:;base64,${Buffer.from(bytes).toString('base64')}`;
}

function form(bytes: Uint8Array): FormData {
  const fields = new FormData();
  fields.set('img', new Blob([new Uint8Array(bytes)]), 'picture');
  return fields;
}

/** The bytes of a picture, with some replaced. */
function damaged(bytes: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(bytes);
  for (const byte of randomBytes(8)) copy[Math.floor((byte / 256) * copy.length)] = byte;
  return copy;
}

const kinds: readonly Kind[] = [
  { path: v2, body: () => infer(inline(picture)) },
  { path: v2, body: () => infer(inline(photo), { num_beams: 3, max_new_tokens: 8 }) },
  { path: '/generate', body: () => form(picture) },
  { path: v2, body: () => infer(inline(damaged(photo))) },
  { path: v2, body: () => infer(inline(damaged(picture))) },
  { path: v2, body: () => infer(inline(photo.subarray(0, photo.length / 2))) },
  { path: v2, body: () => infer('http://127.0.0.1:1/a.jpg') },
  { path: v2, body: () => infer('https://no-such-host.invalid/a.jpg') },
  { path: v2, body: () => infer(inline(picture), { num_beams: 1e9 }) },
  { path: v2, body: () => infer(inline(picture), { num_beam: 3 }) },
  { path: v2, body: () => '{"inputs": [' },
  { path: v2, body: () => gzipSync(Buffer.alloc(2_000_000, '{},')), headers: { 'content-encoding': 'gzip' } },
  { path: '/generate', body: () => form(randomBytes(5_000)) },
  { path: '/nowhere', body: () => 'x' },
  { path: v2, body: () => infer(inline(picture)), headers: { authorization: 'Bearer wrong' } },
];

async function ask({ url }: AttackedServer, { path, body, headers }: Kind, statuses: Map<string, number>) {
  const isLeaving = Math.random() < 0.1; // Some clients do not wait for the answer.
  const patience = AbortSignal.timeout(isLeaving ? 20 : PATIENCE_MS);
  const sent = body();
  const type = typeof sent === 'string' || sent instanceof Uint8Array ? { 'content-type': 'application/json' } : {};
  const answer = await fetch(`${url}${path}`, {
    method: 'POST',
    headers: { authorization: 'Bearer bystander', ...type, ...headers },
    body: sent instanceof Uint8Array ? new Uint8Array(sent) : sent,
    signal: patience,
  }).catch(() => undefined);
  await answer?.arrayBuffer().catch(() => undefined);
  const status = answer === undefined ? (isLeaving ? 'left' : 'none') : String(answer.status);
  statuses.set(status, (statuses.get(status) ?? 0) + 1);
}

/** A connection that sends half a request and goes, or junk. */
async function disturb(): Promise<void> {
  const socket = connect(PORT, '127.0.0.1').on('error', () => undefined);
  socket.write(Math.random() < 0.5 ? `POST ${v2} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9` : randomBytes(100));
  await sleep(100);
  socket.destroy();
}

const server = await startAttackedServer(root.replace(/\/$/, ''), PORT, { LOG_LEVEL: 'fatal' });
const statuses = new Map<string, number>();
const endMs = performance.now() + MINUTES * 60_000;
const clients = Array.from({ length: CLIENTS }, async () => {
  while (performance.now() < endMs && server.isAlive()) {
    const kind = kinds[Math.floor(Math.random() * kinds.length)];
    await (kind === undefined || Math.random() < 0.05 ? disturb() : ask(server, kind, statuses));
  }
});
for (let minute = 1; minute <= MINUTES; minute += 1) {
  await sleep(60_000);
  const counts = [...statuses].sort(([a], [b]) => (a < b ? -1 : 1)).map(([status, count]) => `${count} x ${status}`);
  console.log(`minute ${minute}: ${server.residentMegabytes().toFixed(0)} MB; ${counts.join(', ')}`);
}
await Promise.all(clients);
console.log(`alive: ${server.isAlive()}; peak ${server.peakMegabytes().toFixed(0)} MB`);
await server.stop();
