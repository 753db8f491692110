import { brotliCompressSync, deflateSync, gunzipSync, gzipSync, inflateSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { bytes, dataUri, expectError, postInference, readAnswer, send } from '../../../support/server.ts';
import { withServer } from '../../../support/with-server.ts';

const server = withServer({ maxBodyBytes: 1_000_000 });

const body = JSON.stringify({ inputs: [bytes('img_url', [dataUri('chelsea')])] });
const post = (data: Uint8Array | string, headers: Record<string, string>) =>
  postInference(server.url, data, { headers });

describe('requests', () => {
  test.each([
    ['gzip', gzipSync(body)],
    ['GZIP', gzipSync(body)],
    ['x-gzip', gzipSync(body)],
    ['deflate', deflateSync(body)],
    ['identity', Buffer.from(body)],
  ])('compressed with %s are read', async (encoding, data) => {
    const plain = readAnswer(await postInference(server.url, body));
    expect(readAnswer(await post(data, { 'content-encoding': encoding }))).toEqual(plain);
    const chunked = { 'content-encoding': encoding, 'transfer-encoding': 'chunked' };
    expect(readAnswer(await post(data, chunked))).toEqual(plain);
  });

  test.each(['br', 'zstd', 'identity, gzip', 'gzip, gzip', '__proto__'])(
    'compressed with %s are refused, with the list of known encodings',
    async (encoding) => {
      const answer = await post(brotliCompressSync(body), { 'content-encoding': encoding });
      expectError(answer, 415, 'UNSUPPORTED_ENCODING');
      expect(answer.headers['accept-encoding']).toBe('gzip, deflate');
    },
  );

  test.each([
    ['what is not compressed', Buffer.from(body)],
    ['half of it', gzipSync(body).subarray(0, 10_000)],
    ['a wrong checksum', Buffer.concat([gzipSync(body).subarray(0, -8), Buffer.alloc(8)])],
    ['another encoding', deflateSync(body)],
    ['nothing', Buffer.alloc(0)],
  ])('that cannot be decompressed are refused: %s', async (_, data) => {
    expectError(await post(data, { 'content-encoding': 'gzip' }), 400, 'INVALID_REQUEST');
  });
});

describe('answers', () => {
  const long = {
    inputs: [bytes('img_url', [dataUri('chelsea')])],
    parameters: { num_return_sequences: 4, num_beams: 4 },
    outputs: [{ name: 'token_logprobs' }, { name: 'token_ids' }],
  };
  const ask = (acceptEncoding: string, body: object = long) =>
    post(JSON.stringify(body), { 'accept-encoding': acceptEncoding });

  test.each([
    ['gzip', 'gzip', gunzipSync],
    ['deflate', 'deflate', inflateSync],
    ['br, gzip;q=0.5, deflate;q=0.1', 'gzip', gunzipSync],
    ['gzip;q=0.1, deflate', 'deflate', inflateSync],
  ])('to a client that accepts %s are compressed with %s', async (accepted, encoding, decode) => {
    const plain = await postInference(server.url, long);
    const answer = await ask(accepted);
    expect(answer.headers).toMatchObject({
      'content-encoding': encoding,
      vary: 'accept-encoding',
      'content-length': String(answer.bytes.length),
    });
    expect(decode(answer.bytes).toString()).toBe(plain.text);
  });

  test.each(['', 'identity', 'br', 'gzip;q=0', 'identity, gzip;q=0.5', ';;;'])(
    'to others they come as they are: %s',
    async (accepted) => {
      const answer = await ask(accepted);
      expect(answer.headers['content-encoding']).toBeUndefined();
      expect(JSON.parse(answer.text).outputs).toHaveLength(2);
    },
  );

  test("are compressed whole, with the JSON's length before compression in the header", async () => {
    const plain = await postInference(server.url, {
      ...long,
      parameters: { ...long.parameters, binary_data_output: true },
    });
    const answer = await ask('gzip', { ...long, parameters: { ...long.parameters, binary_data_output: true } });
    expect(answer.headers['content-encoding']).toBe('gzip');
    expect(answer.headers['inference-header-content-length']).toBe(plain.headers['inference-header-content-length']);
    expect(gunzipSync(answer.bytes)).toEqual(plain.bytes);
  });

  test('are not compressed where they are short', async () => {
    const answer = await send(server.url, { path: '/v2/health/live', headers: { 'accept-encoding': 'gzip' } });
    expect(answer.headers['content-encoding']).toBeUndefined();
    expect(answer.text).toBe('{"live":true}');
  });
});
