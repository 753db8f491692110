import { describe, expect, test } from 'vitest';
import { checkpointFolder } from '../../../support/goldens.ts';
import {
  bytes,
  dataUri,
  expectError,
  type HttpAnswer,
  outputOf,
  postInference,
  readAnswer,
  send,
} from '../../../support/server.ts';
import { serverForTest, withServer } from '../../../support/with-server.ts';

/** Cog's predictions. */

const checkpoint = checkpointFolder('narrow-vision');

const server = withServer({ checkpoint });

interface Sent {
  readonly method?: string;
  readonly path?: string;
  readonly url?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

function predict(body: unknown, { method = 'POST', path = '/predictions', url = server.url, headers = {} }: Sent = {}) {
  return send(url, { method, path, headers, body: typeof body === 'string' ? body : JSON.stringify(body) });
}

/** A prediction. Its answer has status 200 even where it failed. */
function readPrediction(answer: HttpAnswer): unknown {
  expect(answer, answer.text).toMatchObject({ status: 200, headers: { 'content-type': 'application/json' } });
  return JSON.parse(answer.text);
}

async function captionOf(parameters: object = {}, text?: string): Promise<string> {
  const inputs = [bytes('img_url', [dataUri('chelsea')]), ...(text === undefined ? [] : [bytes('text', [text])])];
  const answer = readAnswer(await postInference(server.url, { inputs, parameters }));
  return String(outputOf(answer, 'generated_output').data[0]);
}

const image = dataUri('chelsea');
const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
const prediction = {
  id: expect.stringMatching(/\S/),
  logs: '',
  created_at: time,
  started_at: time,
  completed_at: time,
  metrics: { predict_time: expect.any(Number) },
};
const succeeded = (output: unknown) => ({ ...prediction, status: 'succeeded', output, error: null });
const failed = (error: unknown) => ({ ...prediction, status: 'failed', output: null, error });

describe('a prediction', () => {
  test('has the caption as its output', async () => {
    expect(readPrediction(await predict({ input: { image } }))).toEqual(succeeded(await captionOf()));
    expect(readPrediction(await predict({ input: { img_url: image }, id: null }))).toEqual(
      succeeded(await captionOf()),
    );
  });

  test('takes inputs by name, and ignores unknown ones', async () => {
    const input = { image, text: 'a picture of', max_new_tokens: 3, task: 'image_captioning' };
    const caption = await captionOf({ max_new_tokens: 3 }, 'a picture of');
    expect(readPrediction(await predict({ input, version: 'any', webhook: null }))).toEqual(succeeded(caption));
  });

  test('has the id that the client sent', async () => {
    const want = { ...succeeded(await captionOf()), id: 'mine' };
    expect(readPrediction(await predict({ id: 'mine', input: { image } }))).toEqual(want);
    const put = { method: 'PUT', path: '/predictions/mine' };
    expect(readPrediction(await predict({ input: { image } }, put))).toEqual(want);
    expect(readPrediction(await predict({ id: 'mine', input: { image } }, put))).toEqual(want);
    expectError(await predict({ id: 'other', input: { image } }, put), 400, 'INVALID_REQUEST');
  });

  test('is answered when it has ended, whatever the header prefer says', async () => {
    const headers = { prefer: 'respond-async' };
    expect(readPrediction(await predict({ input: { image } }, { headers }))).toEqual(succeeded(await captionOf()));
  });

  test('has a dictionary as its output where there are several outputs', async () => {
    const clip = await serverForTest({ checkpoint: checkpointFolder('clip-real-end') });
    const answer = await predict({ input: { image, text: ['a cat', 'a dog'] } }, { url: clip.url });
    const output = {
      image_embeds: expect.any(Array),
      text_embeds: expect.any(Array),
      probability: [expect.any(Number), expect.any(Number)],
      cosine_similarity: [expect.any(Number), expect.any(Number)],
    };
    expect(readPrediction(answer)).toEqual(succeeded(output));
  });

  test('fails where its image does', async () => {
    for (const [image, code] of [
      ['no base64!', 'IMAGE_SOURCE_INVALID'],
      ['data:,x', 'IMAGE_UNSUPPORTED'],
      ['http://169.254.169.254/', 'IMAGE_SOURCE_BLOCKED'],
    ]) {
      const answer = await predict({ input: { image } });
      expect(readPrediction(answer)).toEqual(failed(expect.stringMatching(`^${code}: Expected `)));
    }
  });
});

describe('refused is', () => {
  test.each([
    ['{'],
    [''],
    ['[]'],
    ['{}'],
    ['{"input": "text"}'],
    ['{"input": {}, "id": 5}'],
    [`{"input": {}, "id": "${'x'.repeat(300)}"}`],
    ['{"input": {}, "webhook": "http://example.com"}'],
  ])('the body %s', async (body) => {
    expectError(await predict(body), 400, 'INVALID_REQUEST');
  });

  test('a prediction with invalid inputs', async () => {
    expectError(await predict({ input: {} }), 400, 'INVALID_INPUT');
    expectError(await predict({ input: { image: 5 } }), 400, 'INVALID_INPUT');
    expectError(await predict({ input: { image, num_beams: 0 } }), 400, 'INVALID_INPUT');
    expectError(await predict({ input: { image, num_return_sequences: 2 } }), 400, 'INVALID_PARAMETER');
    expectError(await predict({ input: { image, text: 'dog '.repeat(40) } }), 400, 'PROMPT_TOO_LONG');
  });

  test('another method', async () => {
    expectError(await send(server.url, { path: '/predictions' }), 405, 'METHOD_NOT_ALLOWED');
    expectError(await predict({ input: { image } }, { path: '/predictions/mine' }), 405, 'METHOD_NOT_ALLOWED');
  });

  test('a request without a token', async () => {
    const guarded = await serverForTest({ checkpoint, apiTokens: ['secret'] });
    const { url } = guarded;
    expectError(await predict({ input: { image } }, { url }), 401, 'UNAUTHORIZED');
    const put = { method: 'PUT', path: '/predictions/mine', url };
    expectError(await predict({ input: { image } }, put), 401, 'UNAUTHORIZED');
    readPrediction(await predict({ input: { image } }, { ...put, headers: { authorization: 'Bearer secret' } }));
  });
});

test('health is in the body; its status is always 200', async () => {
  const starting = await serverForTest({ checkpoint }, { initialize: false });
  const read = async () => {
    const { status, text } = await send(starting.url, { path: '/health-check' });
    return [status, JSON.parse(text)];
  };
  expect(await read()).toEqual([200, { status: 'STARTING', setup: { status: 'starting', logs: '' } }]);
  expectError(await predict({ input: { image } }, { url: starting.url }), 503, 'NOT_READY');
  await starting.model.initialize();
  expect(await read()).toEqual([200, { status: 'READY', setup: { status: 'succeeded', logs: '' } }]);
});
