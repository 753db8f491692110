import { readFileSync } from 'node:fs';
import * as zlib from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { FixedByteBudget } from '../../../pipeline/images/byte-budget.ts';
import { FetchedByteBudget } from '../../../pipeline/images/fetched-bytes.ts';
import { decodeImage } from '../../../pipeline/images/image-decode.ts';
import { fetchImage } from '../../../pipeline/images/image-fetch.ts';
import { type ImageOptions, loadImage } from '../../../pipeline/images/image-source.ts';
import { imagePath } from '../../support/goldens.ts';
import { imageOptions } from '../../support/image-options.ts';
import { startServer } from '../../support/loopback-server.ts';
import { startRawServer } from '../../support/raw-server.ts';
import { expectHandlerError } from '../../support/thrown.ts';

const png = readFileSync(imagePath('small'));
const options: ImageOptions = { ...imageOptions, privateHosts: ['*'] }; // The servers of these tests are on loopback.

async function expectSmall(source: string, changes: Partial<ImageOptions> = {}): Promise<void> {
  const { image } = await loadImage(source, { ...options, ...changes });
  expect(image).toEqual(await decodeImage(png, options));
}

describe('a body', () => {
  test.each([
    ['gzip', zlib.gzipSync(png)],
    ['x-gzip', zlib.gzipSync(png)],
    ['deflate', zlib.deflateSync(png)],
    ['Deflate', zlib.deflateRawSync(png)],
    ['br', zlib.brotliCompressSync(png)],
    ['identity', png],
    ['gzip, br', zlib.brotliCompressSync(zlib.gzipSync(png))],
  ])('in %s is decoded', async (coding, body) => {
    const origin = await startServer({
      '/announced': (response) =>
        response.writeHead(200, { 'content-encoding': coding, 'content-length': body.length }).end(body),
      '/chunked': (response) => response.writeHead(200, { 'content-encoding': coding }).end(body),
    });
    await expectSmall(`${origin}/announced`);
    await expectSmall(`${origin}/chunked`, { maxBytes: png.length });
    await expectHandlerError(
      loadImage(`${origin}/chunked`, { ...options, maxBytes: png.length - 1 }),
      'IMAGE_TOO_LARGE',
    );
  });

  test('whose transfer is in gzip is decoded', async () => {
    const body = zlib.gzipSync(png);
    const server = await startRawServer((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n');
      socket.end(body);
    });
    await expectSmall(`${server.origin}/`);
  });

  test('in gzip takes memory for the bytes that come out, and not for all that might', async () => {
    const origin = await startServer({
      '/': (response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(zlib.gzipSync(png)),
    });
    const budget = new FixedByteBudget(5_000_000);
    const fetchedBytes = new FetchedByteBudget(budget).open(undefined, undefined);
    await fetchImage(new URL(origin), { ...options, maxBytes: 4_000_000 }, { host: 'here', fetchedBytes });
    (await budget.acquire(4_000_000, AbortSignal.timeout(1_000)))();
    await expect(budget.acquire(5_000_000, AbortSignal.timeout(10))).rejects.toThrow();
    fetchedBytes.release();
    (await budget.acquire(5_000_000))();
  });

  test('that is a bomb is too large, and small ones beside it are not kept', async () => {
    const bomb = zlib.gzipSync(Buffer.alloc(50_000_000));
    const origin = await startServer({
      '/bomb': (response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb),
      '/small': (response) => response.end(png),
    });
    const bombs = Array.from({ length: 20 }, () =>
      expectHandlerError(loadImage(`${origin}/bomb`, options), 'IMAGE_TOO_LARGE'),
    );
    await Promise.all([...bombs, expectSmall(`${origin}/small`)]);
  });
});

describe('an answer', () => {
  test.each([200, 201, 202, 203, 226])('of status %d has an image', async (status) => {
    const origin = await startServer({ '/': (response) => response.writeHead(status).end(png) });
    await expectSmall(`${origin}/`);
  });

  const last = png.length - 1;
  test.each([
    ['no range', undefined, true],
    ['the whole range', `bytes 0-${last}/${png.length}`, true],
    ['the whole range of a length that is unknown', `bytes 0-${last}/*`, true],
    ['the beginning', `bytes 0-${last}/${png.length + 1}`, false],
    ['the end', `bytes 1-${last}/${png.length}`, false],
    ['a range of something else', 'items 0-1/2', false],
  ])('of status 206 with %s', async (_, range, isWhole) => {
    const headers = range === undefined ? {} : { 'content-range': range };
    const origin = await startServer({ '/': (response) => response.writeHead(206, headers).end(png) });
    if (isWhole) await expectSmall(`${origin}/`);
    else {
      const { message } = await expectHandlerError(loadImage(`${origin}/`, options), 'IMAGE_FETCH_FAILED');
      expect(message).toMatch(/got 206 with a part of it\.$/);
    }
  });
});

describe('redirects', () => {
  test('with a cookie, to the same URL until it is sent back', async () => {
    const origin = await startServer({
      '/': (response, request) => {
        if (request.headers.cookie === 'seen=yes') response.end(png);
        else response.writeHead(302, { 'set-cookie': 'seen=yes; HttpOnly', location: '/' }).end();
      },
    });
    await expectSmall(`${origin}/`);
    await expectSmall(`${origin}/`, { maxRedirects: 1 }); // The second fetch begins without it.
    await expectHandlerError(loadImage(`${origin}/`, { ...options, maxRedirects: 0 }), 'IMAGE_FETCH_FAILED');
  });

  test('as many as twenty', async () => {
    const origin = await startServer(
      Object.fromEntries(
        Array.from({ length: 21 }, (_, index) => [
          `/${index}`,
          (response) =>
            index === 20 ? response.end(png) : response.writeHead(302, { location: `/${index + 1}` }).end(),
        ]),
      ),
    );
    await expectSmall(`${origin}/0`, { maxRedirects: 20 });
    await expectHandlerError(loadImage(`${origin}/0`, { ...options, maxRedirects: 19 }), 'IMAGE_FETCH_FAILED');
  });

  test('to a path in raw UTF-8', async () => {
    const server = await startRawServer((socket, head) => {
      if (!head.startsWith('GET /b%C3%BCcher.png ')) {
        socket.write('HTTP/1.1 302 Found\r\nLocation: /bücher.png\r\nContent-Length: 0\r\n\r\n');
        return;
      }
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${png.length}\r\n\r\n`);
      socket.write(png);
    });
    await expectSmall(`${server.origin}/`);
  });
});

describe('of two clients', () => {
  test('one with slow hosts does not keep the other waiting', async () => {
    let slowCount = 0;
    const origin = await startServer({
      '/slow': (response) => {
        slowCount += 1;
        response.writeHead(200, { 'content-length': 900_000 }).write(png.subarray(0, 30));
      },
      '/small': (response) => response.end(png),
    });
    const leaving = new AbortController();
    const slow = Array.from({ length: 300 }, (_, index) =>
      loadImage(`${origin.replace('127.0.0.1', `127.0.0.${(index % 9) + 1}`)}/slow`, {
        ...options,
        client: 'slow',
        signal: leaving.signal,
      }).catch(() => undefined),
    );
    await expect.poll(() => slowCount).toBeGreaterThan(20);
    const startMs = performance.now();
    await expectSmall(`${origin}/small`, { client: 'other' });
    expect(performance.now() - startMs).toBeLessThan(1_000);
    leaving.abort(new Error('left'));
    await Promise.all(slow);
    await expectSmall(`${origin}/small`, { client: 'slow' });
  });
});
