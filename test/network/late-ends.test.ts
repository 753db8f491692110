import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import { ProxyConnections } from '../../network/proxy-connections.ts';
import { startRawServer } from '../support/raw-server.ts';

/** More than undici holds before it stops reading, so that the readers below hold up the body. */
const BODY = 'a'.repeat(900_000);
const HELD_UP_MS = 100;

/** A server that answers with these bytes and closes; what is written after a pause comes when the body is held up. */
async function serverOf(head: string, ...parts: readonly string[]): Promise<URL> {
  const answer = async (socket: Socket) => {
    socket.write(`HTTP/1.1 200 OK\r\nConnection: close\r\n${head}\r\n\r\n`);
    for (const part of parts) socket.write(part);
    await sleep(HELD_UP_MS / 2);
    socket.end();
  };
  return new URL((await startRawServer((socket) => void answer(socket))).origin);
}

/** The body, which nobody reads before the connection has ended, and then with a pause after each piece. */
async function readLate(url: URL): Promise<string> {
  const connections = new ProxyConnections(
    { http: '', https: '', none: '' },
    { connectTimeoutMs: 5_000, stallTimeoutMs: 5_000 },
  );
  onTestFinished(() => connections.close());
  const { body } = await connections.get(url, { headers: {}, signal: new AbortController().signal });
  await sleep(HELD_UP_MS);
  const chunks: Uint8Array[] = [];
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    chunks.push(chunk);
    await sleep(1);
  }
  return Buffer.concat(chunks).toString('latin1');
}

const chunked = `${BODY.length.toString(16)}\r\n${BODY}\r\n`;

describe('a server that closes while a body is held up', () => {
  test.each([
    ['with a length', `Content-Length: ${BODY.length}`, BODY],
    ['in chunks', 'Transfer-Encoding: chunked', `${chunked}0\r\n\r\n`],
    ['up to the end of the connection', 'X-None: 1', BODY],
  ])('has its whole body read: one %s', async (_, head, bytes) => {
    expect(await readLate(await serverOf(head, bytes))).toBe(BODY);
  });

  test.each([
    ['with a length', `Content-Length: ${BODY.length + 1}`, BODY],
    ['in chunks', 'Transfer-Encoding: chunked', chunked],
    ['in chunks, within one', 'Transfer-Encoding: chunked', chunked.slice(0, -10)],
  ])('before the end of a body %s is an error of the request', async (_, head, bytes) => {
    await expect(readLate(await serverOf(head, bytes))).rejects.toThrow();
  });
});
