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

/** Vertex AI, and the first protocol of KServe. */

const VERTEX_PATH = '/vertex/predict';
const KSERVE_PATH = '/v1/models/captioning:predict';
const checkpoint = checkpointFolder('narrow-vision');

const server = withServer({ checkpoint, maxQueueSize: 8 });

function post(path: string, body: unknown, url = server.url): Promise<HttpAnswer> {
  return send(url, { method: 'POST', path, body: typeof body === 'string' ? body : JSON.stringify(body) });
}

/** The predictions of an answer, which must be a success. */
function predictionsOf(answer: HttpAnswer): readonly unknown[] {
  expect(answer, answer.text).toMatchObject({ status: 200, headers: { 'content-type': 'application/json' } });
  const { predictions, ...others } = JSON.parse(answer.text);
  expect(others).toEqual({});
  return predictions;
}

async function captionOf(image: 'chelsea' | 'rocket', parameters: object = {}, text?: string): Promise<string> {
  const inputs = [bytes('img_url', [dataUri(image)]), ...(text === undefined ? [] : [bytes('text', [text])])];
  return String(
    outputOf(readAnswer(await postInference(server.url, { inputs, parameters })), 'generated_output').data[0],
  );
}

const chelsea = { img_url: dataUri('chelsea') };
const rocket = { img_url: dataUri('rocket') };

describe('predictions', () => {
  test.each([VERTEX_PATH, KSERVE_PATH, KSERVE_PATH.replace(':', '%3A')])(
    'of %s, in the order of the instances',
    async (path) => {
      const instances = [chelsea, { ...rocket, text: 'a picture of' }, { ...chelsea, max_new_tokens: 3 }];
      expect(predictionsOf(await post(path, { instances }))).toEqual([
        { generated_output: await captionOf('chelsea') },
        { generated_output: await captionOf('rocket', {}, 'a picture of') },
        { generated_output: await captionOf('chelsea', { max_new_tokens: 3 }) },
      ]);
    },
  );

  test('with parameters for all instances, which an instance may override, but not with null', async () => {
    const parameters = { max_new_tokens: 3, timeout: 60_000_000, num_beams: null };
    const instances = [chelsea, { ...chelsea, max_new_tokens: 5 }, { ...chelsea, max_new_tokens: null }];
    expect(predictionsOf(await post(VERTEX_PATH, { instances, parameters }))).toEqual([
      { generated_output: await captionOf('chelsea', { max_new_tokens: 3 }) },
      { generated_output: await captionOf('chelsea', { max_new_tokens: 5 }) },
      { generated_output: await captionOf('chelsea', { max_new_tokens: 3 }) },
    ]);
  });

  test('with a time limit for all instances', async () => {
    const late = await post(VERTEX_PATH, { instances: [chelsea], parameters: { timeout: 1 } });
    expectError(late, 504, 'DEADLINE_EXCEEDED');
  });

  test.each([
    [{ instances: [chelsea], parameters: { unknown: { a: 1 } } }, 'INVALID_INPUT', 'got "unknown".'],
    [{ instances: [chelsea], parameters: { num_beam: 2 } }, 'INVALID_INPUT', 'did you mean num_beams?'],
    [{ instances: [{ image: 'x' }] }, 'INVALID_INPUT', 'did you mean img_url?'],
    [{ instances: [chelsea], parameter: { num_beams: 2 } }, 'INVALID_REQUEST', 'did you mean parameters?'],
  ])('with names that nobody reads are refused: %j', async (body, code, words) => {
    expect(expectError(await post(VERTEX_PATH, body), 400, code).error).toContain(words);
  });

  test('of an image in b64', async () => {
    const b64 = chelsea.img_url.split(',')[1];
    const instances = [{ img_url: { b64 } }, { img_url: [{ b64 }] }];
    const caption = { generated_output: await captionOf('chelsea') };
    expect(predictionsOf(await post(VERTEX_PATH, { instances, parameters: null }))).toEqual([caption, caption]);
  });

  test('of several images in one instance', async () => {
    const instances = [{ img_url: [chelsea.img_url, rocket.img_url, 'no base64!'] }];
    expect(predictionsOf(await post(VERTEX_PATH, { instances }))).toEqual([
      {
        generated_output: [await captionOf('chelsea'), await captionOf('rocket'), ''],
        error: ['', '', expect.stringMatching(/^IMAGE_SOURCE_INVALID: /)],
      },
    ]);
  });

  test("have an error for an instance that fails, beside the others' captions", async () => {
    const caption = { generated_output: await captionOf('chelsea') };
    const failure = (code: string) => ({ error: expect.stringMatching(/^Expected .*\.$/), code });
    const instances = [{}, chelsea, 5, { img_url: 'http://169.254.169.254/' }, null, { ...chelsea, foo: 1 }, ['a']];
    expect(predictionsOf(await post(VERTEX_PATH, { instances }))).toEqual([
      failure('INVALID_INPUT'),
      caption,
      failure('INVALID_INPUT'),
      failure('IMAGE_SOURCE_BLOCKED'),
      failure('INVALID_INPUT'),
      failure('INVALID_INPUT'),
      failure('INVALID_INPUT'),
    ]);
  });
});

describe('refused are', () => {
  test('instances that all fail, with the first error', async () => {
    const instances = [{ img_url: 'no base64!' }, {}];
    expectError(await post(VERTEX_PATH, { instances }), 400, 'IMAGE_SOURCE_INVALID');
  });

  test.each([['{'], [''], ['5'], ['[]'], ['{}'], ['{"instances": []}'], ['{"instances": {}}']])(
    'the body %s',
    async (body) => {
      expectError(await post(VERTEX_PATH, body), 400, 'INVALID_REQUEST');
      expectError(await post(KSERVE_PATH, body), 400, 'INVALID_REQUEST');
    },
  );

  test('parameters that are no dictionary', async () => {
    expectError(await post(VERTEX_PATH, { instances: [chelsea], parameters: 5 }), 400, 'INVALID_REQUEST');
  });

  test('more instances than the queue has room for', async () => {
    const instances = Array.from({ length: 9 }, () => chelsea);
    expectError(await post(VERTEX_PATH, { instances }), 400, 'INVALID_INPUT');
  });

  test('lists in lists without end', async () => {
    const body = `{"instances": [{"img_url": ${'['.repeat(100_000)}${']'.repeat(100_000)}}]}`;
    expectError(await post(VERTEX_PATH, body), 400, 'INVALID_INPUT');
  });

  test('another model, another verb, another method', async () => {
    expectError(await post('/v1/models/other:predict', { instances: [chelsea] }), 404, 'NOT_FOUND');
    expectError(await post('/v1/models/captioning:explain', { instances: [chelsea] }), 404, 'NOT_FOUND');
    expectError(await post('/v1/models/captioning', { instances: [chelsea] }), 404, 'NOT_FOUND');
    expectError(await send(server.url, { method: 'PUT', path: KSERVE_PATH }), 405, 'METHOD_NOT_ALLOWED');
    expectError(await send(server.url, { path: VERTEX_PATH }), 405, 'METHOD_NOT_ALLOWED');
  });

  test('requests without a token', async () => {
    const guarded = await serverForTest({ checkpoint, apiTokens: ['secret'] });
    for (const path of [VERTEX_PATH, KSERVE_PATH])
      expectError(await post(path, { instances: [chelsea] }, guarded.url), 401, 'UNAUTHORIZED');
  });
});

describe("the models of KServe's first protocol", () => {
  test('are listed by name, with their readiness', async () => {
    const starting = await serverForTest({ checkpoint, modelName: 'cats' }, { initialize: false });
    const read = async (path: string) => {
      const { status, text } = await send(starting.url, { path });
      return [status, JSON.parse(text)];
    };
    expect(await read('/v1/models/cats')).toEqual([503, { name: 'cats', ready: false }]);
    expectError(await post('/v1/models/cats:predict', {}, starting.url), 503, 'NOT_READY');
    await starting.model.initialize();
    expect(await read('/v1/models')).toEqual([200, { models: ['cats'] }]);
    expect(await read('/v1/models/cats')).toEqual([200, { name: 'cats', ready: true }]);
    expectError(await send(starting.url, { path: '/v1/models/dogs' }), 404, 'NOT_FOUND');
  });
});

describe('the paths that Vertex AI chooses', () => {
  test.each([
    ['/predict', '/health'],
    ['/', '/'],
    ['/v1/endpoints/1/deployedModels/2:predict', '/v1/endpoints/1/deployedModels/2'],
  ])('POST %s and GET %s', async (vertexPredictRoute, vertexHealthRoute) => {
    const routes = { vertexPredictRoute, vertexHealthRoute };
    const starting = await serverForTest({ checkpoint, ...routes }, { initialize: false });
    expect((await send(starting.url, { path: vertexHealthRoute })).status).toBe(503);
    await starting.model.initialize();
    expect((await send(starting.url, { path: vertexHealthRoute })).status).toBe(200);
    const caption = { generated_output: await captionOf('chelsea') };
    const body = { instances: [chelsea] };
    expect(predictionsOf(await post(vertexPredictRoute, body, starting.url))).toEqual([caption]);
    expect(predictionsOf(await post(`${vertexPredictRoute}?a=b`, body, starting.url))).toEqual([caption]);
    expect(predictionsOf(await post(KSERVE_PATH, body, starting.url))).toEqual([caption]);
  });
});
