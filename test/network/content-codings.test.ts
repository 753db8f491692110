import * as zlib from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { CodingError, codingNames, codingsOf, decodeBody } from '../../network/content-codings.ts';

const { signal } = new AbortController();
const MAX_BYTES = 1_000_000;
/** Numbers without much of a pattern, so that coded forms have several blocks. */
const text = Buffer.from(Array.from({ length: 100_000 }, (_, index) => (index * index) % 251));

/** As text, which is quicker to compare. */
const letters = text.toString('latin1');

const decode = (body: Uint8Array, codings: readonly string[], maxBytes = MAX_BYTES) =>
  decodeBody(body, codings, { maxBytes, signal }).then(
    (bytes) => Buffer.from(bytes).toString('latin1'),
    (error: unknown) => (error instanceof CodingError ? error.problem : error),
  );

const bytesOf = (hex: string) => Buffer.from(hex.replace(/\s/g, ''), 'hex');
/** Python 3.11's `gzip.GzipFile(filename='hello.txt', mtime=0)` of `hello`. */
const named = bytesOf('1f8b08080000000002ff 68656c6c6f2e74787400 cb48cdc9c90700 86a6103605000000');

describe('a body is decoded', () => {
  test.each([
    ['gzip', zlib.gzipSync(text)],
    ['x-gzip', zlib.gzipSync(text)],
    ['deflate with the header of zlib', zlib.deflateSync(text)],
    ['deflate without a header', zlib.deflateRawSync(text)],
    ['deflate that stores', zlib.deflateRawSync(text, { level: 0 })],
    ['br', zlib.brotliCompressSync(text, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 4 } })],
  ])('in %s', async (coding, body) => {
    expect(await decode(body, [coding.split(' ')[0] ?? ''])).toBe(letters);
  });

  test('in zstd, where Node has it', async () => {
    const frame = bytesOf('28b52ffd0458290000 68656c6c6f a36d9f88'); // By zstd 1.5.4, of `hello`.
    const hasZstd = codingNames.includes('zstd');
    expect(hasZstd).toBe('createZstdDecompress' in zlib);
    if (hasZstd) expect(await decode(frame, ['zstd'])).toBe('hello');
    else expect(await decode(frame, ['zstd'])).toBe('unknown');
  });

  test('from gzip with the name of a file', async () => {
    expect(await decode(named, ['gzip'])).toBe('hello');
    expect(await decode(Buffer.concat([named, Buffer.from('junk')]), ['gzip'])).toBe('hello');
  });

  test('from several codings, the last one first', async () => {
    const body = zlib.brotliCompressSync(zlib.deflateSync(zlib.gzipSync(text)));
    expect(await decode(body, ['gzip', 'deflate', 'br'])).toBe(letters);
    expect(await decode(body, ['br', 'deflate', 'gzip'])).toBe('invalid');
  });

  test('from gzip in several parts', async () => {
    const parts = [zlib.gzipSync(text.subarray(0, 100)), zlib.gzipSync(text.subarray(100))];
    expect(await decode(Buffer.concat(parts), ['gzip'])).toBe(letters);
  });

  test.each(['gzip', 'deflate', 'br'])('from no bytes in %s', async (coding) => {
    expect(await decode(Buffer.alloc(0), [coding])).toBe('');
  });
});

describe('as far as it makes sense', () => {
  const coded = { gzip: zlib.gzipSync(text), deflate: zlib.deflateSync(text), br: zlib.brotliCompressSync(text) };

  test.each(Object.entries(coded))('%s without its end', async (coding, body) => {
    const bytes = await decode(body.subarray(0, -9), [coding]);
    expect(letters.startsWith(String(bytes))).toBe(true);
  });

  test('gzip without its checksum', async () => {
    expect(await decode(coded.gzip.subarray(0, -8), ['gzip'])).toBe(letters);
  });

  test.each(Object.entries(coded))('%s with more bytes after it', async (coding, body) => {
    expect(await decode(Buffer.concat([body, Buffer.from('junk')]), [coding])).toBe(letters);
    const hello = {
      gzip: zlib.gzipSync('hello'),
      deflate: zlib.deflateSync('hello'),
      br: zlib.brotliCompressSync('hello'),
    };
    const short = Buffer.concat([hello[coding as keyof typeof hello], Buffer.from('junk')]); // Its keys are those of `coded`.
    expect(await decode(short, [coding])).toBe('hello');
  });
});

describe('a body is refused', () => {
  test.each(['gzip', 'deflate', 'br'])('that is not in %s', async (coding) => {
    expect(await decode(bytesOf('89504e470d0a1a0a0000000d49484452'), [coding])).toBe('invalid');
  });

  test.each([['compress'], ['utf-8'], ['aws-chunked'], ['none'], ['gzip', 'sdch'], ['sdch', 'gzip']])(
    'in %s, which is unknown',
    async (...codings) => {
      expect(await decode(zlib.gzipSync(text), codings)).toBe('unknown');
    },
  );

  test('in more codings than five', async () => {
    let body = text;
    for (let count = 1; count <= 6; count += 1) {
      body = zlib.gzipSync(body);
      expect(await decode(body, Array(count).fill('gzip'))).toBe(count <= 5 ? letters : 'too-many');
    }
  });

  const zeros = Buffer.alloc(100_000_000);
  test.each([
    ['gzip', zlib.gzipSync(zeros)],
    ['deflate', zlib.deflateSync(zeros)],
    ['br', zlib.brotliCompressSync(zeros, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 2 } })],
  ])('of which too much comes out, in %s', async (coding, bomb) => {
    const before = process.memoryUsage().rss;
    expect(await decode(bomb, [coding])).toBe('too-large');
    expect(process.memoryUsage().rss - before).toBeLessThan(60_000_000);
    expect(await decode(zlib.gzipSync(bomb), [coding, 'gzip'])).toBe('too-large');
  });

  test('of exactly the limit is taken, and of one byte more is not', async () => {
    expect(await decode(zlib.gzipSync(text), ['gzip'], text.length)).toBe(letters);
    expect(await decode(zlib.gzipSync(text), ['gzip'], text.length - 1)).toBe('too-large');
  });

  test('after there is room for all that it takes: what goes in, what comes out, and that joined', async () => {
    const held: number[] = [];
    const hold = async (byteCount: number) => void held.push(byteCount);
    const body = zlib.gzipSync(text);
    await decodeBody(zlib.gzipSync(body), ['gzip', 'gzip'], { maxBytes: MAX_BYTES, signal, hold });
    expect(held.at(-1)).toBe(body.length + 2 * text.length);
    expect(held.length).toBeGreaterThan(3); // As it comes out.
    const refused = { maxBytes: MAX_BYTES, signal: AbortSignal.abort(new Error('over')), hold };
    await expect(decodeBody(body, ['gzip'], refused)).rejects.toThrow('over');
  });

  test('whose fetch has ended', async () => {
    const over = AbortSignal.abort(new Error('over'));
    await expect(decodeBody(zlib.gzipSync(text), ['gzip'], { maxBytes: MAX_BYTES, signal: over })).rejects.toThrow(
      'over',
    );
  });

  test('soon, where it has many streams in which nothing is', async () => {
    const startMs = performance.now();
    expect(await decode(Buffer.concat(Array(500_000).fill(zlib.gzipSync(''))), ['gzip'])).toBe('');
    expect(performance.now() - startMs).toBeLessThan(3_000);
  });
});

test.each([
  [{}, []],
  [{ 'content-encoding': 'GZIP' }, ['gzip']],
  [{ 'content-encoding': ' gzip ,, br ' }, ['gzip', 'br']],
  [{ 'content-encoding': 'identity' }, []],
  [{ 'content-encoding': '' }, []],
  [{ 'transfer-encoding': 'chunked' }, []],
  [{ 'transfer-encoding': 'gzip, chunked', 'content-encoding': 'br' }, ['br', 'gzip']],
])('the codings of %j', (headers, codings) => {
  expect(codingsOf(headers)).toEqual(codings);
});
