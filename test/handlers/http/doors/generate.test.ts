import { describe, expect, test } from 'vitest';
import { bytes, dataUri, expectError, outputOf, postInference, readAnswer, send } from '../../../support/server.ts';
import { serverForTest, withServer } from '../../../support/with-server.ts';

/** Triton's generate and generate_stream, and its repository index. */

const server = withServer({ apiTokens: ['secret'] });

const headers = { authorization: 'Bearer secret' };
const post = (path: string, body: object | string) =>
  send(server.url, {
    method: 'POST',
    path: `/v2/models/captioning${path}`,
    headers,
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });

async function captionsOf(inputs: readonly object[], parameters = {}) {
  const answer = await postInference(server.url, { inputs, parameters }, { headers });
  return outputOf(readAnswer(answer), 'generated_output').data;
}

describe.each(['/generate', '/versions/1/generate'])('%s', (path) => {
  test('takes inputs by name, and answers with outputs by name', async () => {
    const [caption] = await captionsOf([bytes('img_url', [dataUri('chelsea')]), bytes('text', ['a picture of'])]);
    const answer = await post(path, { img_url: dataUri('chelsea'), text: 'a picture of', id: '7' });
    expect(answer.headers['content-type']).toBe('application/json');
    expect(JSON.parse(answer.text)).toEqual({
      model_name: 'captioning',
      model_version: '1',
      id: '7',
      parameters: { precision: 'float32' },
      generated_output: caption,
    });
  });

  test('takes lists and parameters', async () => {
    const images = [dataUri('chelsea'), dataUri('rocket')];
    const captions = await captionsOf([bytes('img_url', images)], { max_new_tokens: 3 });
    const answer = await post(path, { img_url: images, parameters: { max_new_tokens: 3 }, priority: 1 });
    expect(JSON.parse(answer.text)).toMatchObject({ generated_output: captions });
    expect(JSON.parse((await post(path, { img_url: images, max_new_tokens: 3 })).text)).toMatchObject({
      generated_output: captions,
    });
  });

  test('takes null as an absent value', async () => {
    const [caption] = await captionsOf([bytes('img_url', [dataUri('chelsea')])]);
    const answer = await post(path, { img_url: dataUri('chelsea'), text: null, max_new_tokens: null, timeout: null });
    expect(JSON.parse(answer.text)).toMatchObject({ generated_output: caption });
  });

  test('takes parameters beside the inputs as well, which override those in parameters', async () => {
    const body = { img_url: dataUri('chelsea'), parameters: { timeout: 'soon' } };
    expectError(await post(path, body), 400, 'INVALID_PARAMETER');
    expectError(await post(path, { ...body, parameters: {}, timeout: 'soon' }), 400, 'INVALID_PARAMETER');
    expect((await post(path, { ...body, timeout: 60_000_000 })).status).toBe(200);
  });

  test.each<[string, object | string, string]>([
    ['no JSON', '{', 'INVALID_REQUEST'],
    ['no object', [], 'INVALID_REQUEST'],
    ['no image', {}, 'INVALID_INPUT'],
    ['a number for an image', { img_url: 1 }, 'INVALID_INPUT'],
    ['a nested list', { img_url: [[dataUri('chelsea')]] }, 'INVALID_INPUT'],
    [
      'an object for a parameter',
      { img_url: dataUri('chelsea'), parameters: { max_new_tokens: {} } },
      'INVALID_REQUEST',
    ],
    ['a parameter out of bounds', { img_url: dataUri('chelsea'), parameters: { max_new_tokens: 0 } }, 'INVALID_INPUT'],
    ['an image that is none', { img_url: '####' }, 'IMAGE_SOURCE_INVALID'],
  ])('refuses %s', async (_, body, code) => {
    expectError(await post(path, body), 400, code);
  });
});

describe('/generate_stream', () => {
  test('sends the answer of generate as one event', async () => {
    const body = { img_url: dataUri('chelsea'), text: 'a picture of' };
    const answer = await post('/generate_stream', body);
    expect(answer).toMatchObject({ status: 200, headers: { 'content-type': 'text/event-stream; charset=utf-8' } });
    expect(answer.text).toBe(`data: ${(await post('/generate', body)).text}\n\n`);
  });

  test('answers an error before the first event with its status', async () => {
    expectError(await post('/generate_stream', { img_url: '####' }), 400, 'IMAGE_SOURCE_INVALID');
  });
});

test.each(['/generate', '/generate_stream'])('%s needs a token, a known model and POST', async (path) => {
  const full = `/v2/models/captioning${path}`;
  expectError(await send(server.url, { method: 'POST', path: full, body: '{}' }), 401, 'UNAUTHORIZED');
  expectError(
    await send(server.url, { method: 'POST', path: full.replace('captioning', 'other'), headers, body: '{}' }),
    404,
    'NOT_FOUND',
  );
  expectError(await send(server.url, { path: full, headers }), 405, 'METHOD_NOT_ALLOWED');
});

test('the repository index lists the models with their states', async () => {
  const index = (url: string, body = '{}') => send(url, { method: 'POST', path: '/v2/repository/index', body });
  expect(JSON.parse((await index(server.url)).text)).toEqual([
    { name: 'captioning', version: '1', state: 'READY', reason: '' },
  ]);
  const starting = await serverForTest({ modelName: 'later' }, { initialize: false });
  expect(JSON.parse((await index(starting.url)).text)).toEqual([
    { name: 'later', version: '1', state: 'UNAVAILABLE', reason: 'not loaded' },
  ]);
  expect(JSON.parse((await index(starting.url, '')).text)).toHaveLength(1);
  expect(JSON.parse((await index(starting.url, '{"ready":true}')).text)).toEqual([]);
  expect(JSON.parse((await index(server.url, '{"ready":true}')).text)).toHaveLength(1);
  expectError(await index(server.url, '{"ready":1}'), 400, 'INVALID_REQUEST');
  expectError(await index(server.url, JSON.stringify({ more: 'x'.repeat(1024) })), 413, 'PAYLOAD_TOO_LARGE');
});
