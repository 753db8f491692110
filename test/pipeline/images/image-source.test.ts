import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { FixedByteBudget } from '../../../pipeline/images/byte-budget.ts';
import { decodeImage } from '../../../pipeline/images/image-decode.ts';
import { type ImageOptions, loadImage } from '../../../pipeline/images/image-source.ts';
import { jointBudgets } from '../../../pipeline/images/joint-budgets.ts';
import type { ErrorCode } from '../../../protocol/errors.ts';
import { imagePath } from '../../support/goldens.ts';
import { bitmap, tiff } from '../../support/image-files.ts';
import { imageOptions } from '../../support/image-options.ts';
import { type Route, startServer } from '../../support/loopback-server.ts';
import { expectHandlerError } from '../../support/thrown.ts';

const png = readFileSync(imagePath('small'));
const options: ImageOptions = { ...imageOptions, privateHosts: ['*'] }; // The servers of these tests are on loopback.
/** For requests that get no whole answer, however long they wait. */
const impatient = { ...options, timeoutMs: 300 };

const answerPng: Route = (response) => response.writeHead(200, { 'content-type': 'image/png' }).end(png);
const redirectTo =
  (location: string, status = 302): Route =>
  (response) =>
    response.writeHead(status, { location }).end('upstream-secret');

/** Words of the servers, and of the network, that must not reach whoever sent the request. */
const hidden = /upstream-secret|127\.0\.0\.1|localhost|:\d{4,5}|ECONN|undici|Secret-Path|E[A-Z]{5,}/;

const tiffOfFourPixels = { 256: [4], 257: [1], 258: [8, 8, 8], 262: [2], 273: [8], 277: [3], 278: [1], 279: [12] };

async function expectRefused(source: string, code: ErrorCode, changed: Partial<ImageOptions> = {}): Promise<string> {
  const { message } = await expectHandlerError(loadImage(source, { ...options, ...changed }), code);
  expect(message).toMatch(/^Expected .*\.$/s);
  expect(message.replace(/host "127\.0\.0\.1"/, '')).not.toMatch(hidden); // The sender wrote that name.
  return message;
}

async function expectSmall(source: string, changed: Partial<ImageOptions> = {}): Promise<void> {
  const { image, fetchMs, decodeMs } = await loadImage(source, { ...options, ...changed });
  expect(image).toEqual(await decodeImage(png, options));
  expect(Math.min(fetchMs, decodeMs)).toBeGreaterThanOrEqual(0);
}

describe('an image by its URL', () => {
  test('is fetched and decoded', async () => {
    const origin = await startServer({ '/small.png': answerPng });
    await expectSmall(`${origin}/small.png`);
    await expectSmall(`  ${origin}/small.png\n`);
    await expectSmall(`${origin.replace('http', 'HTTP')}/small.png`);
  });

  test('is decoded by its bytes, whatever the server calls them', async () => {
    const origin = await startServer({
      '/image': (response) => response.writeHead(200, { 'content-type': 'text/plain' }).end(png),
    });
    await expectSmall(`${origin}/image`);
  });

  test('is asked for with a user agent, and not compressed', async () => {
    const requests: Readonly<Record<string, unknown>>[] = [];
    const origin = await startServer({
      '/small.png': (response, request) => {
        requests.push({ method: request.method, ...request.headers });
        answerPng(response, request);
      },
    });
    await expectSmall(`${origin}/small.png`);
    expect(requests).toMatchObject([
      {
        method: 'GET',
        'user-agent': 'blip-handler',
        'accept-encoding': 'identity',
        'accept-language': 'en,*;q=0.5',
      },
    ]);
    expect(requests[0]).not.toHaveProperty('authorization');
    expect(requests[0]).not.toHaveProperty('cookie');
  });

  test.each([301, 302, 303, 307, 308])('is followed through a redirect of status %d', async (status) => {
    const origin = await startServer({ '/': redirectTo('/small.png', status), '/small.png': answerPng });
    await expectSmall(`${origin}/`);
  });

  test('is followed through relative and absolute redirects, as many as are allowed', async () => {
    const routes: Record<string, Route> = {
      '/a/1': redirectTo('2?x=y'),
      '/a/2?x=y': redirectTo('../b/3'),
      '/a/small.png': answerPng,
    };
    const origin = await startServer(routes);
    routes['/b/3'] = redirectTo(`${origin}/a/small.png`);
    await expectSmall(`${origin}/a/1`);
    const message = await expectRefused(`${origin}/a/1`, 'IMAGE_FETCH_FAILED', { maxRedirects: 2 });
    expect(message).toContain('at most 2 redirects');
  });

  test('is refused at the first redirect where none is allowed', async () => {
    const origin = await startServer({ '/': redirectTo('/small.png'), '/small.png': answerPng });
    await expectSmall(`${origin}/small.png`, { maxRedirects: 0 });
    await expectRefused(`${origin}/`, 'IMAGE_FETCH_FAILED', { maxRedirects: 0 });
  });

  test('is refused where redirects go in a circle, after as many requests as are allowed', async () => {
    let requests = 0;
    const origin = await startServer({
      '/': (response, request) => {
        requests += 1;
        redirectTo('/')(response, request);
      },
    });
    await expectRefused(`${origin}/`, 'IMAGE_FETCH_FAILED');
    expect(requests).toBe(1 + options.maxRedirects);
  });

  test.each(['file:///etc/passwd', 'ftp://127.0.0.1/Secret-Path', 'data:text/plain,upstream-secret', 'javascript:1'])(
    'is refused where it redirects to %s',
    async (location) => {
      const origin = await startServer({ '/': redirectTo(location) });
      await expectRefused(`${origin}/`, 'IMAGE_SOURCE_INVALID');
    },
  );

  test('is refused where it redirects to something that is no URL', async () => {
    const origin = await startServer({ '/': redirectTo('http://[upstream-secret') });
    await expectRefused(`${origin}/`, 'IMAGE_FETCH_FAILED');
  });

  // 999 is LinkedIn's. Browsers show an image that comes with an error, but it is not the one that was asked for.
  test.each([204, 205, 300, 304, 400, 403, 404, 410, 429, 500, 503, 999])(
    'is refused where the server answers %d, with an image or without',
    async (status) => {
      const origin = await startServer({
        '/': (response) => response.writeHead(status, 'upstream-secret').end(png),
      });
      expect(await expectRefused(`${origin}/`, 'IMAGE_FETCH_FAILED')).toContain(`got ${status}`);
    },
  );

  // The deadline is far beyond the time that vitest gives these two tests.
  test('is refused where the body of an error never ends, without waiting for it', { timeout: 5_000 }, async () => {
    const origin = await startServer({ '/': (response) => response.writeHead(500).write('upstream-secret') });
    await expectRefused(`${origin}/`, 'IMAGE_FETCH_FAILED', { timeoutMs: 600_000 });
  });

  test('is followed where the body of a redirect never ends, without waiting for it', { timeout: 5_000 }, async () => {
    const origin = await startServer({
      '/': (response) => response.writeHead(302, { location: '/small.png' }).write('upstream-secret'),
      '/small.png': answerPng,
    });
    await expectSmall(`${origin}/`, { timeoutMs: 600_000 });
  });

  test('is refused where nobody listens', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    await new Promise((resolve) => server.close(resolve));
    await expectRefused(`http://127.0.0.1:${port}/Secret-Path`, 'IMAGE_HOST_UNREACHABLE');
  });

  test('is refused where the connection breaks in the middle', async () => {
    const origin = await startServer({
      '/': (response) => {
        response.writeHead(200, { 'content-length': png.length });
        response.write(png.subarray(0, 20), () => response.destroy());
      },
    });
    await expectRefused(`${origin}/`, 'IMAGE_FETCH_FAILED');
  });

  test('is refused where the server does not speak HTTP', async () => {
    const server = createServer((socket) => socket.resume().end('upstream-secret\r\n\r\n'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    await expectRefused(`http://127.0.0.1:${port}/`, 'IMAGE_HOST_NOT_HTTP');
    await new Promise((resolve) => server.close(resolve));
  });

  test('is refused as unsupported where the answer is a page', async () => {
    const page = '<!doctype html><title>upstream-secret</title>';
    const origin = await startServer({ '/': (response) => response.writeHead(200).end(page) });
    expect(await expectRefused(`${origin}/`, 'IMAGE_UNSUPPORTED')).toContain('got an HTML page');
  });

  test('is refused as unsupported where the answer is empty', async () => {
    const origin = await startServer({ '/': (response) => response.writeHead(200).end() });
    expect(await expectRefused(`${origin}/`, 'IMAGE_UNSUPPORTED')).toContain('got no bytes');
  });

  test.each(['http://', 'http:', 'https://[::1', 'http://a b/', 'http://127.0.0.1:99999/'])(
    'is refused where %j does not parse',
    async (source) => {
      await expectRefused(source, 'IMAGE_SOURCE_INVALID');
    },
  );

  test.each([
    'ftp://127.0.0.1/small.png',
    'FILE:///etc/passwd',
    'gopher://127.0.0.1/',
    'javascript:alert(1)',
    'blob:http://127.0.0.1/1',
    'C:\\images\\small.png',
  ])('is refused where %j is of another scheme', async (source) => {
    await expectRefused(source, 'IMAGE_SOURCE_INVALID');
  });

  test('is refused where it names a file, even one that is there', async () => {
    await expectRefused(pathToFileURL(imagePath('small')).href, 'IMAGE_SOURCE_INVALID');
  });
});

describe('the deadline', () => {
  test('ends a request that gets no headers', async () => {
    const origin = await startServer({ '/': () => undefined });
    expect(await expectRefused(`${origin}/`, 'IMAGE_FETCH_TIMEOUT', impatient)).toContain('within 300 ms');
  });

  test('ends a body that drips without end, though no pause is long', async () => {
    const origin = await startServer({
      '/': (response) => {
        response.writeHead(200).write(png.subarray(0, 8));
        const drip = setInterval(() => response.write(Buffer.alloc(1)), 20);
        response.once('close', () => clearInterval(drip));
      },
    });
    await expectRefused(`${origin}/`, 'IMAGE_FETCH_TIMEOUT', impatient);
  });

  test('holds for all redirects together', async () => {
    const origin = await startServer({
      '/': (response, request) => void setTimeout(() => redirectTo('/')(response, request), 50),
    });
    await expectRefused(`${origin}/`, 'IMAGE_FETCH_TIMEOUT', { ...impatient, maxRedirects: 1_000_000 });
  });
});

describe('the limit of bytes', () => {
  test('refuses a body whose length is announced, and hangs up', async () => {
    let hungUp: Promise<unknown> = Promise.reject(new Error('There was no request.'));
    hungUp.catch(() => undefined);
    const origin = await startServer({
      '/': (response) => {
        hungUp = new Promise((resolve) => response.once('close', resolve));
        response.writeHead(200, { 'content-length': 2_000_000 }).write(png);
      },
    });
    expect(await expectRefused(`${origin}/`, 'IMAGE_TOO_LARGE')).toContain('at most 1000000 bytes');
    await hungUp;
  });

  test('refuses a body that does not end, and hangs up', async () => {
    let hungUp: Promise<unknown> = Promise.reject(new Error('There was no request.'));
    hungUp.catch(() => undefined);
    const origin = await startServer({
      '/': (response) => {
        hungUp = new Promise((resolve) => response.once('close', resolve));
        const more = (): void => {
          while (!response.destroyed && response.write(Buffer.alloc(65_536)));
        };
        response.writeHead(200).on('drain', more);
        more();
      },
    });
    await expectRefused(`${origin}/`, 'IMAGE_TOO_LARGE');
    await hungUp;
  });

  // An error event of the body that nobody hears would end the process: vitest fails the run when that happens.
  test('refuses a body whose length is announced and that has arrived already, and the process lives on', async () => {
    const origin = await startServer({
      '/': (response) => response.writeHead(200, { 'content-length': png.length }).end(png),
    });
    await expectRefused(`${origin}/`, 'IMAGE_TOO_LARGE', { maxBytes: 100 });
    await new Promise((resolve) => setImmediate(resolve));
    await expectSmall(`${origin}/`);
  });

  test('takes a body of exactly the limit, with its length announced or not, and not one byte more', async () => {
    const origin = await startServer({
      '/announced': (response) => response.writeHead(200, { 'content-length': png.length }).end(png),
      '/chunked': (response) => response.writeHead(200, { 'transfer-encoding': 'chunked' }).end(png),
    });
    for (const path of ['/announced', '/chunked']) {
      await expectSmall(`${origin}${path}`, { maxBytes: png.length });
      await expectRefused(`${origin}${path}`, 'IMAGE_TOO_LARGE', { maxBytes: png.length - 1 });
    }
  });

  /** There is memory for two images of this size. Images count with the bytes that have come. */
  const huge = { ...options, maxBytes: 300_000_000 };

  test('lets more images be fetched at once than there would be memory for, if each were as large as it may be', async () => {
    let open = 0;
    const origin = await startServer({
      '/': (response, request) => {
        open += 1;
        const answerWhenAllAreOpen = () => {
          if (open < 20) setTimeout(answerWhenAllAreOpen, 5);
          else answerPng(response, request);
        };
        answerWhenAllAreOpen();
      },
    });
    const dropped = new AbortController();
    const sources = Array.from({ length: 20 }, () => loadImage(`${origin}/`, huge));
    const late = loadImage(`${origin}/`, { ...huge, signal: dropped.signal });
    dropped.abort(new Error('dropped'));
    await expect(late).rejects.toThrow('dropped');
    expect(await Promise.all(sources)).toHaveLength(20);
  });

  test('does not keep images from each other that are needed at once', async () => {
    const origin = await startServer({ '/small.png': answerPng });
    const budgets = jointBudgets(new FixedByteBudget(100_000_000), 3);
    const loads = budgets.map((decodedBudget) => loadImage(`${origin}/small.png`, { ...huge, decodedBudget }));
    expect(await Promise.all(loads)).toHaveLength(3);
  });

  const base64 = png.toString('base64');
  const percentEncoded = [...png].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
  test.each([
    ['base64', base64],
    ['URL-safe base64 without padding', png.toString('base64url')],
    ['base64 in lines', base64.replace(/.{76}/g, '$&\r\n')],
    ['a data: URI', `data:image/png;base64,${base64}`],
    ['a percent-encoded data: URI', `data:image/png,${percentEncoded}`],
  ])('takes %s of exactly the limit, and not of one byte more', async (_, source) => {
    await expectSmall(source, { maxBytes: png.length });
    const message = await expectRefused(source, 'IMAGE_TOO_LARGE', { maxBytes: png.length - 1 });
    expect(message).toContain(`at most ${png.length - 1} bytes`);
  });

  test('lets no text hold up the process', { timeout: 60_000 }, async () => {
    const patient = { maxBytes: 20_000_000 };
    await expectRefused(`data:,${'%41'.repeat(20_000_000)}`, 'IMAGE_UNSUPPORTED', patient);
    await expectRefused(`data:;base64,${'%41'.repeat(20_000_000)}`, 'IMAGE_UNSUPPORTED', patient);
    await expectRefused('A '.repeat(20_000_000), 'IMAGE_SOURCE_INVALID', patient);
    await expectRefused('AAAA '.repeat(6_000_000), 'IMAGE_UNSUPPORTED', patient);
    await expectRefused('A ='.repeat(20_000_000), 'IMAGE_SOURCE_INVALID', patient);
  });

  test('refuses long text of every kind', async () => {
    await expectRefused('A'.repeat(20_000_000), 'IMAGE_TOO_LARGE');
    await expectRefused(`data:;base64,${'A'.repeat(20_000_000)}`, 'IMAGE_TOO_LARGE');
    await expectRefused(`data:,${'A'.repeat(20_000_000)}`, 'IMAGE_TOO_LARGE');
  });
});

describe('an image as text', () => {
  test.each([
    ['plain', png.toString('base64')],
    ['plain without padding', png.toString('base64').replace(/=+$/, '')],
    ['URL-safe', png.toString('base64url')],
    ['in lines', png.toString('base64').replace(/.{76}/g, '$&\n')],
    ['with space around it', `\n ${png.toString('base64')} \n`],
  ])('may be base64: %s', async (_, source) => {
    await expectSmall(source);
  });

  test('the picture of these tests needs the signs that tell both alphabets apart', () => {
    expect(png.toString('base64')).toMatch(/[+/]/);
    expect(png.toString('base64url')).toMatch(/[-_]/);
  });

  test.each([
    ['with a type', (base64: string) => `data:image/png;base64,${base64}`],
    ['without a type', (base64: string) => `data:;base64,${base64}`],
    ['with parameters', (base64: string) => `data:image/png;name=a.png;base64,${base64}`],
    ['with a wrong type', (base64: string) => `data:text/html;base64,${base64}`],
    ['in capitals', (base64: string) => `DATA:image/png;BASE64,${base64}`],
    ['with percent-encoded signs', (base64: string) => `data:image/png;base64,${encodeURIComponent(base64)}`],
  ])('may be a data: URI of base64: %s', async (_, wrap) => {
    await expectSmall(wrap(png.toString('base64')));
  });

  test('is left as it is where a percent sign begins no escape', async () => {
    const encoded = [...png].map((byte) => (byte === 0x25 ? '%' : String.fromCharCode(byte))).join('');
    await expectSmall(`data:,${encoded.replace(/%(?=[0-9a-f]{2})/gi, '%25')}`);
    await expectRefused('data:;base64,QUJD%', 'IMAGE_SOURCE_INVALID');
    await expectRefused('data:;base64,QUJD%4', 'IMAGE_SOURCE_INVALID');
    await expectRefused('data:;base64,QUJD%4g', 'IMAGE_SOURCE_INVALID');
    await expectRefused('data:;base64,%51%55JD', 'IMAGE_UNSUPPORTED');
  });

  test('may be a data: URI that is percent-encoded', async () => {
    const encoded = [...png].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
    await expectSmall(`data:image/png,${encoded}`);
    await expectSmall(`data:,${encoded.toUpperCase()}`);
  });

  test.each([
    ['a data: URI without a comma', 'data:image/png;base64'],
    ['an empty data: URI of base64', 'data:;base64,'],
    ['a data: URI with signs that are not base64', 'data:;base64,@@@@'],
    ['nothing', ''],
    ['space', ' \n '],
    ['words', 'not an image!'],
    ['a path', '/etc/passwd.png'],
    ['padding alone', '===='],
    ['padding in the middle', 'QUJD=QUJD'],
    ['other letters', 'ÄÖÜ'],
    ['a JSON object', '{"img_url":"x"}'],
  ])('is refused where it is %s', async (_, source) => {
    const message = await expectRefused(source, 'IMAGE_SOURCE_INVALID');
    expect(message).not.toContain('passwd');
  });

  test.each([
    ['an empty data: URI', 'data:,'],
    ['words that could be base64', 'upstream'],
    ['base64 of a page', Buffer.from('<html>upstream-secret</html>').toString('base64')],
    ['a data: URI of SVG', 'data:image/svg+xml,<svg xmlns="http://www.w3.org/2000/svg"/>'],
  ])('is refused as unsupported where it is %s', async (_, source) => {
    await expectRefused(source, 'IMAGE_UNSUPPORTED');
  });
});

test('a file that is also text in UTF-8 is the file, to its last space', async () => {
  // A tensor of BYTES takes these for text. Their last byte is a space, which is no part of base64.
  const files = [bitmap(24, [4, 1], Buffer.alloc(12, 32)), tiff(Buffer.alloc(12, 32), tiffOfFourPixels)];
  for (const file of files) {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(file);
    const { image } = await loadImage(text, options);
    expect(image).toMatchObject({ width: 4, height: 1 });
    expect([...image.data]).toEqual(Array(12).fill(32));
  }
});
