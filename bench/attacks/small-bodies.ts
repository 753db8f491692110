import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import type { Attack } from './attack.ts';
import { type AttackedServer, startAttackedServer } from './attacked-server.ts';

const PORT = 8_422;
const DECODED_BYTES = 62_000_000;
const PATIENCE_MS = 120_000;

interface SmallBody {
  readonly title: string;
  readonly path?: string;
  readonly contentType?: string;
  readonly body: () => Buffer;
  /** Settings of the server. */
  readonly values?: Readonly<Record<string, string>>;
}

const repeated = (text: string, head = '', tail = '') =>
  Buffer.from(`${head}${text.repeat(Math.floor(DECODED_BYTES / text.length))}${tail}`);

const forms = { path: '/generate', contentType: 'application/x-www-form-urlencoded' };
const boundary = 'b';
const multipart = { path: '/generate', contentType: `multipart/form-data; boundary=${boundary}` };

/** Bodies of a few kilobytes that become 62 MB. */
const smallBodies: readonly SmallBody[] = [
  { title: 'a form of empty fields', ...forms, body: () => repeated('a&') },
  { title: 'a form of escapes', ...forms, body: () => repeated('%41', 'txt=') },
  { title: 'a form of pluses', ...forms, body: () => repeated('+', 'txt=') },
  { title: 'a form with a list of objects', ...forms, body: () => repeated('{},', 'img=[', '{}]') },
  { title: 'a list of objects', body: () => repeated('{},', '{"inputs":[', '{}]}') },
  { title: 'lists in lists', body: () => repeated('[') },
  { title: 'keys', body: () => repeated('"":"",', '{', '"":""}') },
  { title: 'a number of many digits', body: () => repeated('1', '{"id":', '}') },
  { title: 'a text of escapes', body: () => repeated('\\u0041', '{"id":"', '"}') },
  { title: 'spaces', body: () => repeated(' ', '{', '}') },
  { title: 'bytes that are no JSON', body: () => repeated('x') },
  { title: 'instances', path: '/v1/models/captioning:predict', body: () => repeated('{},', '{"instances":[', '{}]}') },
  { title: 'a job', path: '/v2/captioning/runsync', body: () => repeated('0,', '{"input":{"img_url":[', '0]}}') },
  { title: 'parts of a form', ...multipart, body: () => repeated(`--${boundary}\r\n\r\n\r\n`) },
  { title: 'headers of a part', ...multipart, body: () => repeated('a: b\r\n', `--${boundary}\r\n`) },
  { title: 'half boundaries', ...multipart, body: () => repeated('\r\n-', `--${boundary}\r\n\r\n`) },
];

const picture = `data:;base64,${readFileSync(new URL('../../examples/two-cats.png', import.meta.url)).toString('base64')}`;
const infer = (inputs: readonly object[]) => Buffer.from(JSON.stringify({ inputs }));
const imageTensor = { name: 'img_url', shape: [1], datatype: 'BYTES', data: [picture] };
const shipped = ['captioning', 'question-answering', 'retrieval', 'clip'];
const checkpoints = new URL('../../checkpoints/', import.meta.url).pathname;
const modelList = (tasks: readonly string[]) => tasks.map((task) => `${task}=${checkpoints}scenes-${task}`).join(',');
const ofTask = (task: string) => ({ path: `/v2/models/${task}/generate`, values: { BLIP_MODELS: modelList(shipped) } });
const firstClip = { path: '/predict', values: { BLIP_MODELS: modelList(['clip']) } };
const manyKeys = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, 0]));
const json = (value: unknown) => Buffer.from(JSON.stringify(value));

/** Bodies that pass the count of values. */
const countedBodies: readonly SmallBody[] = [
  { title: 'as many objects as pass', body: () => json({ inputs: Array(260_000).fill({}) }) },
  { title: 'as many lists in lists as pass', body: () => Buffer.from(`${'['.repeat(260_000)}${']'.repeat(260_000)}`) },
  {
    title: 'as many keys as pass',
    path: '/predict',
    body: () => json({ inputs: picture, parameters: manyKeys(260_000) }),
  },
  {
    title: 'as many keys of a prediction as pass',
    path: '/predictions',
    body: () => json({ input: manyKeys(260_000) }),
  },
  { title: 'as many tensors as pass', body: () => infer(Array(40_000).fill(imageTensor.name)) },
  {
    title: 'a text of 62 MB',
    body: () =>
      infer([imageTensor, { name: 'text', shape: [1], datatype: 'BYTES', data: ['a '.repeat(DECODED_BYTES / 2)] }]),
  },
  {
    title: 'a text of 62 MB without spaces',
    body: () =>
      infer([imageTensor, { name: 'text', shape: [1], datatype: 'BYTES', data: ['a'.repeat(DECODED_BYTES)] }]),
  },
  {
    title: 'a picture of 62 MB',
    body: () => infer([{ ...imageTensor, data: [`data:;base64,${'A'.repeat(DECODED_BYTES)}`] }]),
  },
  {
    title: 'a template for every label',
    ...firstClip,
    body: () =>
      json({
        inputs: picture,
        parameters: { candidate_labels: Array(60_000).fill('a'), hypothesis_template: `{}${'b'.repeat(100_000)}` },
      }),
  },
  {
    title: 'a template of places',
    ...firstClip,
    body: () =>
      json({
        inputs: picture,
        parameters: { candidate_labels: ['a'.repeat(10_000)], hypothesis_template: '{}'.repeat(80_000) },
      }),
  },
  {
    title: 'long texts to compare',
    ...ofTask('clip'),
    body: () => json({ text: Array(250).fill('a '.repeat(100_000)) }),
  },
  {
    title: 'as many candidates as pass',
    ...ofTask('question-answering'),
    body: () => json({ img_url: picture, question: 'a', candidates: Array(60_000).fill('a') }),
  },
];

/** @returns the status; 0 for no answer. */
async function post({ url }: AttackedServer, { path, contentType }: SmallBody, body: Uint8Array): Promise<number> {
  const answer = await fetch(`${url}${path ?? '/v2/models/captioning/infer'}`, {
    method: 'POST',
    headers: {
      authorization: 'Bearer attacker',
      'content-encoding': 'gzip',
      'content-type': contentType ?? 'application/json',
    },
    body,
    signal: AbortSignal.timeout(PATIENCE_MS),
  }).catch(() => undefined);
  await answer?.arrayBuffer().catch(() => undefined);
  return answer?.status ?? 0;
}

function attack(small: SmallBody, count: number): Attack {
  return {
    name: `${count} small bodies in gzip: ${small.title}`,
    async run(checkout) {
      const server = await startAttackedServer(checkout, PORT, small.values);
      try {
        const body = gzipSync(small.body());
        const beforeSeconds = server.cpuSeconds();
        const beforeMegabytes = server.residentMegabytes();
        const statuses = await Promise.all(Array.from({ length: count }, () => post(server, small, body)));
        return {
          'sent each, KB': Math.round(body.length / 1_000),
          statuses: [...new Set(statuses)].join(', '),
          'memory added, MB': Math.round(server.peakMegabytes() - beforeMegabytes),
          'CPU, s': Number((server.cpuSeconds() - beforeSeconds).toFixed(1)),
          process: server.isAlive() ? 'alive' : 'dead',
        };
      } finally {
        await server.stop();
      }
    },
  };
}

/** Need a token. */
export const smallBodyAttacks: readonly Attack[] = [
  ...[...smallBodies, ...countedBodies].map((small) => attack(small, 1)),
  ...smallBodies.slice(0, 1).map((small) => attack(small, 5)),
  ...smallBodies.slice(3, 4).map((small) => attack(small, 5)),
];
