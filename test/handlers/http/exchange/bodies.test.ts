import type http from 'node:http';
import net from 'node:net';
import { gzipSync } from 'node:zlib';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createServer } from '../../../../handlers/http/server.ts';
import { createAdmission } from '../../../../handlers/service/admission.ts';
import { createMetrics } from '../../../../handlers/service/metrics.ts';
import { dataUri, expectError, INFER_PATH, postInference, readAnswer, send } from '../../../support/server.ts';
import { serverForTest, withServer } from '../../../support/with-server.ts';

const image = dataUri('small');
const repeated = (text: string) => text.repeat(600_000);

describe('a body of too many values is refused', () => {
  const server = withServer();
  const encodings: [string, (text: string) => { body: Uint8Array; headers: http.OutgoingHttpHeaders }][] = [
    ['as it is', (text) => ({ body: Buffer.from(text), headers: {} })],
    ['in gzip', (text) => ({ body: gzipSync(text), headers: { 'content-encoding': 'gzip' } })],
  ];

  describe.each(encodings)('%s', (_encoding, encode) => {
    test.each<[string, string, string]>([
      ['KServe', INFER_PATH, `{"inputs":[${repeated('{},')}{}]}`],
      ['generate', '/v2/models/captioning/generate', `{"img_url":[${repeated('"",')}""]}`],
      ['generate_stream', '/v2/models/captioning/generate_stream', repeated('[')],
      ['BentoML', '/generate', `{${repeated('"":"",')}"":""}`],
      ['Hugging Face', '/predict', `{"parameters":{${repeated('"a":{},')}"a":0}}`],
      ['KServe 1', '/v1/models/captioning:predict', `{"instances":[${repeated('{},')}{}]}`],
      ['Vertex AI', '/vertex/predict', repeated('{"a":')],
      ['Cog', '/predictions', `{"input":{"image":[${repeated('0,')}0]}}`],
      ['RunPod', '/runsync', `{"input":{"image":[${repeated('0,')}0]}}`],
      ['RunPod, a job', '/run', `{"input":{"image":[${repeated('0,')}0]}}`],
    ])('%s', async (_title, path, text) => {
      const answer = await send(server.url, { method: 'POST', path, ...encode(text) });
      expect(expectError(answer, 400, 'INVALID_REQUEST').error).toMatch(/at most 262144 values/);
    });

    test.each<[string, string]>([
      ['empty fields', repeated('a&')],
      ['different fields', Array.from({ length: 200_000 }, (_, index) => `f${index}=`).join('&')],
      ['a field of JSON', `img=${image}&num_beams=[${repeated('0,')}0]`],
    ])('a form of %s', async (_title, text) => {
      const { body, headers } = encode(text);
      const type = 'application/x-www-form-urlencoded';
      const answer = await send(server.url, {
        method: 'POST',
        path: '/generate',
        body,
        headers: { ...headers, 'content-type': type },
      });
      expectError(answer, 400, 'INVALID_REQUEST');
    });
  });

  test('a form with a field of JSON', async () => {
    const form = `--b\r\nContent-Disposition: form-data; name="img"\r\n\r\n[${repeated('[],')}0]\r\n--b--\r\n`;
    const headers = { 'content-type': 'multipart/form-data; boundary=b' };
    const answer = await send(server.url, { method: 'POST', path: '/generate', headers, body: form });
    expectError(answer, 400, 'INVALID_REQUEST');
  });
});

/** A request whose body never ends. The server has read `sent` when this resolves. */
async function beginUpload(url: string, token: string, sent: string): Promise<net.Socket> {
  const { hostname, port } = new URL(url);
  const socket = net.connect(Number(port), hostname);
  socket.on('error', () => undefined);
  onTestFinished(() => void socket.destroy());
  const head = `POST ${INFER_PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\n`;
  await new Promise((resolve) => socket.write(`${head}Content-Length: 60000\r\n\r\n${sent}`, resolve));
  return socket;
}

describe('bodies that arrive', () => {
  const request = { inputs: [{ name: 'img_url', shape: [1], datatype: 'BYTES', data: [image] }] };
  const start = () => serverForTest({ apiTokens: ['one', 'two'], maxHeldBodyBytes: 100_000 });
  const ask = (url: string, token: string) =>
    postInference(url, request, { headers: { authorization: `Bearer ${token}` } });

  test('count together until they are whole; another token has room, and so has this one when clients leave', async () => {
    const { url } = await start();
    const uploads = [
      await beginUpload(url, 'one', 'x'.repeat(25_000)),
      await beginUpload(url, 'one', 'x'.repeat(24_990)),
    ];
    await expect.poll(async () => (await ask(url, 'one')).status).toBe(429);
    expectError(await ask(url, 'one'), 429, 'OVERLOADED');
    readAnswer(await ask(url, 'two'));
    for (const upload of uploads) upload.destroy();
    await expect.poll(async () => (await ask(url, 'one')).status).toBe(200);
  });

  test('count as decoded', async () => {
    const { url } = await start();
    const headers = { authorization: 'Bearer one', 'content-encoding': 'gzip' };
    const body = gzipSync(' '.repeat(60_000));
    expectError(await postInference(url, body, { headers }), 429, 'OVERLOADED');
    readAnswer(await ask(url, 'one'));
  });
});

/** The lines that a server logs, and its metrics. */
async function startLogged() {
  const { model, settings } = await serverForTest({}, { initialize: false });
  const metrics = Promise.resolve(createMetrics([model]));
  const server = createServer([model], { ...settings, logLevel: 'info' }, createAdmission(settings), metrics);
  const lines: { readonly level: number; readonly msg: string; readonly res?: unknown }[] = [];
  const collect = (level: number) => (details: object, msg: string) => void lines.push({ level, ...details, msg });
  server.addHook('onRequest', async (_request, reply) => {
    Object.assign(reply.log, { info: collect(30), warn: collect(40), error: collect(50) });
  });
  onTestFinished(async () => await server.close());
  await model.initialize();
  onTestFinished(async () => await model.finalize());
  return { url: await server.listen({ host: '127.0.0.1', port: 0 }), lines, metrics };
}

describe('a client that leaves while it sends is logged and counted as 499', () => {
  const whole = 'Content-Length: 1000\r\n\r\n{"inputs"';
  test.each<[string, string, string, (socket: net.Socket) => void]>([
    ['by FIN', INFER_PATH, whole, (socket) => socket.end()],
    ['by RST', INFER_PATH, whole, (socket) => socket.resetAndDestroy()],
    ['in a chunk', '/generate', 'Transfer-Encoding: chunked\r\n\r\n5\r\n{"', (socket) => socket.destroy()],
    [
      'in gzip',
      '/predict',
      'Content-Encoding: gzip\r\nContent-Length: 1000\r\n\r\n\x1f\x8b\x08',
      (socket) => socket.end(),
    ],
    [
      'in a form',
      '/generate',
      'Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000\r\n\r\n--b\r\nContent-Disp',
      (socket) => socket.end(),
    ],
    ['on a path without a token', '/v2/repository/index', 'Content-Length: 100\r\n\r\n{', (socket) => socket.end()],
  ])('%s', async (_title, path, rest, leave) => {
    const { url, lines, metrics } = await startLogged();
    const { hostname, port } = new URL(url);
    const socket = net.connect(Number(port), hostname);
    socket.on('error', () => undefined);
    await new Promise((resolve) =>
      socket.write(`POST ${path} HTTP/1.1\r\nHost: localhost\r\n${rest}`, 'latin1', resolve),
    );
    await new Promise((resolve) => setTimeout(resolve, 50));
    leave(socket);
    await expect.poll(() => lines).toEqual([expect.objectContaining({ level: 30, res: { statusCode: 499 } })]);
    const counted = (await (await metrics).text()).match(/^blip_answers_total.*$/gm);
    expect(counted).toEqual(['blip_answers_total{door="http",status="499"} 1']);
  });
});
