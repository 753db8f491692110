import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'vitest';
import Handler from '../../app.ts';
import { createServer } from '../../handlers/http/server.ts';
import { createModels } from '../../handlers/service/model-loading.ts';
import { readServerSettings, type ServerSettings } from '../../handlers/service/server-settings.ts';
import { anySettingDefinitions, readSettings, type Settings } from '../../pipeline/settings.ts';
import type { NamedTensor } from '../../protocol/named-tensor.ts';
import { checkpointFolder, type ImageName, imagePath } from './goldens.ts';

/**
 * The real server in this process, a server of images, and requests to both, all on loopback. Tests start them by
 * with-server.ts, which closes them as well.
 */

export const INFER_PATH = '/v2/models/captioning/infer';

/** The settings of a model and of the server around it. */
export type TestSettings = Settings & ServerSettings;

/**
 * The settings of a model in an empty environment, with the changes that a test wants. The checkpoint is tiny and has
 * random weights: its captions mean nothing and come fast.
 */
export function testSettings(changes: Partial<Settings> = {}): Settings {
  const defaults = readSettings({ environment: {}, shippedCheckpoint: checkpointFolder('narrow-vision') });
  return { ...defaults, executionProvider: 'cpu', imagePrivateHosts: ['127.0.0.1'], ...changes };
}

/** The settings of a model and of a silent server around it. */
export function serverTestSettings(changes: Partial<TestSettings> = {}): TestSettings {
  return { ...testSettings(), ...readServerSettings({}), logLevel: 'silent', ...changes };
}

/** The model's settings alone: a handler refuses those of a server. */
export function modelSettingsOf(settings: TestSettings): Settings {
  const names = new Set(Object.keys(anySettingDefinitions()));
  const entries = Object.entries(settings).filter(([name]) => names.has(name));
  return { ...testSettings(), ...Object.fromEntries(entries) };
}

export interface HttpRequest {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: http.OutgoingHttpHeaders;
  /** Sent as it is; no header is made up for it but content-length. */
  readonly body?: string | Uint8Array;
  readonly agent?: http.Agent;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly bytes: Buffer;
  readonly text: string;
}

/** An answer as the protocol has it; keys that this answer lacks are absent. */
export interface InferenceAnswer {
  readonly model_name: string;
  readonly model_version: string;
  readonly id?: string;
  readonly outputs: readonly NamedTensor[];
}

/** Sends one request and reads its whole answer. Without an agent it has a connection of its own. */
export function send(url: string, request: HttpRequest = {}): Promise<HttpAnswer> {
  const { method = 'GET', path = '/', headers = {}, body, agent } = request;
  const length =
    body === undefined || 'transfer-encoding' in headers ? {} : { 'content-length': Buffer.byteLength(body) };
  return new Promise((resolve, reject) => {
    const outgoing = http.request(new URL(url), {
      method,
      path,
      headers: { ...length, ...headers },
      agent: agent ?? false,
    });
    outgoing.once('error', reject);
    outgoing.once('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.once('error', reject);
      response.once('end', () => {
        const bytes = Buffer.concat(chunks);
        const { statusCode: status = 0, headers: answered } = response;
        resolve({ status, headers: answered, bytes, text: bytes.toString('utf8') });
      });
    });
    outgoing.end(body);
  });
}

/** Sends a body to the inference route: objects as JSON, text and bytes as they are. */
export function postInference(
  url: string,
  body: object | string | Uint8Array,
  request: Omit<HttpRequest, 'body' | 'method'> = {},
): Promise<HttpAnswer> {
  const raw = typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body);
  return send(url, { method: 'POST', path: INFER_PATH, ...request, body: raw });
}

/** The answer, which must be a success. */
export function readAnswer(answer: HttpAnswer): InferenceAnswer {
  expect(answer, answer.text).toMatchObject({ status: 200, headers: { 'content-type': 'application/json' } });
  return JSON.parse(answer.text);
}

/** The output of that name, which must be there. */
export function outputOf(answer: InferenceAnswer, name: string): NamedTensor {
  const output = answer.outputs.find((tensor) => tensor.name === name);
  if (output === undefined) throw new Error(`Expected output ${name}, got ${JSON.stringify(answer.outputs)}.`);
  return output;
}

/** Holds an answer to the form that every error has. */
export function expectError(
  answer: HttpAnswer,
  status: number,
  code: string,
): { readonly error: string; readonly code: string } {
  expect(answer, answer.text).toMatchObject({ status, headers: { 'content-type': 'application/json' } });
  const body = JSON.parse(answer.text);
  expect(body).toEqual({ error: expect.stringMatching(/\S/), code });
  return body;
}

/** A tensor of strings, flat. */
export function bytes(name: string, data: readonly string[]): object {
  return { name, shape: [data.length], datatype: 'BYTES', data };
}

/** A `data:` URI of one of the pictures. With a label it is another source of the same pixels. */
export function dataUri(image: ImageName, label?: string): string {
  const parameter = label === undefined ? '' : `;label=${label}`;
  return `data:image/any${parameter};base64,${readFileSync(imagePath(image)).toString('base64')}`;
}

export interface RunningServer {
  readonly url: string;
  readonly model: Handler;
  readonly settings: TestSettings;
  close(): Promise<void>;
}

/** The HTTP server around a model; the model is loaded unless a test asks otherwise. */
export async function startServer(
  changes: Partial<TestSettings> = {},
  { initialize = true }: { readonly initialize?: boolean } = {},
): Promise<RunningServer> {
  const settings = serverTestSettings(changes);
  const model = new Handler(modelSettingsOf(settings));
  const server = await listen([model], settings);
  if (initialize) await model.initialize();
  return { ...server, model, settings };
}

export interface RunningServerOfModels extends Omit<RunningServer, 'model' | 'settings'> {
  readonly models: readonly Handler[];
}

/** The HTTP server around the models that the settings name, none of which is loaded yet. */
export async function startServerOfModels(
  changes: Partial<TestSettings> & Pick<TestSettings, 'models'>,
): Promise<RunningServerOfModels> {
  const settings = serverTestSettings(changes);
  const models = createModels(modelSettingsOf(settings), settings.models);
  return { ...(await listen(models, settings)), models };
}

async function listen(
  models: readonly Handler[],
  settings: ServerSettings,
): Promise<Pick<RunningServer, 'url' | 'close'>> {
  const server = createServer(models, settings);
  const url = await server.listen({ host: '127.0.0.1', port: 0 });
  return {
    url,
    async close() {
      await server.close();
      await Promise.all(models.map((model) => model.finalize()));
    },
  };
}

export interface ImageServer {
  readonly url: string;
  /** Resolves when this many requests for /held.png wait. */
  held(count: number): Promise<void>;
  /** Answers those that wait, and all later ones at once. */
  release(): void;
  close(): Promise<void>;
}

/**
 * Pictures on loopback: /chelsea.png and /rocket.jpg; /page.html, which is none; /held.png, which waits for
 * `release()`; 404 for anything else.
 */
export async function startImageServer(): Promise<ImageServer> {
  const waiting: http.ServerResponse[] = [];
  let released = false;
  const server = http.createServer((request, response) => {
    if (request.url === '/chelsea.png') answer(response, 'image/png', readFileSync(imagePath('chelsea')));
    else if (request.url === '/rocket.jpg') answer(response, 'image/jpeg', readFileSync(imagePath('rocket')));
    else if (request.url === '/page.html') answer(response, 'text/html', Buffer.from('<!doctype html><p>No picture'));
    else if (request.url !== '/held.png') response.writeHead(404).end();
    else if (released) answer(response, 'image/png', readFileSync(imagePath('chelsea')));
    else {
      waiting.push(response);
      server.emit('held');
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const release = () => {
    released = true;
    for (const response of waiting.splice(0)) answer(response, 'image/png', readFileSync(imagePath('chelsea')));
  };
  return {
    url: `http://127.0.0.1:${port}`,
    async held(count) {
      while (waiting.length < count) await once(server, 'held');
    },
    release,
    async close() {
      release();
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

function answer(response: http.ServerResponse, contentType: string, body: Buffer): void {
  response.writeHead(200, { 'content-type': contentType }).end(body);
}
