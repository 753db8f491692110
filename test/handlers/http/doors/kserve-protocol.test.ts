import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { schemas } from '../../../../input_schema.ts';
import { expectClose } from '../../../support/close-to.ts';
import { type GoldenGeneration, readGoldenGenerations, requestPath } from '../../../support/goldens.ts';
import {
  bytes,
  dataUri,
  expectError,
  type HttpAnswer,
  INFER_PATH,
  outputOf,
  postInference,
  readAnswer,
  send,
} from '../../../support/server.ts';
import { imageServerForTest, serverForTest, withImageServer, withServer } from '../../../support/with-server.ts';

const server = withServer();
const images = withImageServer();

const get = (path: string, url = server.url) => send(url, { path });
const post = (body: object | string | Uint8Array, headers: Record<string, string> = {}) =>
  postInference(server.url, body, { headers });
const chelsea = dataUri('chelsea');
const rocket = dataUri('rocket');

/** Captions of a request that must succeed. */
async function captions(body: object): Promise<readonly (string | number)[]> {
  return outputOf(readAnswer(await post(body)), 'generated_output').data;
}

function expectJson(answer: HttpAnswer, status: number, body: unknown): void {
  expect(answer.status).toBe(status);
  expect(answer.headers['content-type']).toBe('application/json');
  expect(JSON.parse(answer.text)).toEqual(body);
}

describe('health', () => {
  test('is live and ready when the model is loaded', async () => {
    expectJson(await get('/v2/health/live'), 200, { live: true });
    expectJson(await get('/v2/health/ready'), 200, { live: true, ready: true });
    expectJson(await get('/v2/models/captioning/ready'), 200, { name: 'captioning', ready: true });
  });

  test('is live and not ready before the model is loaded and after it is finalized, with the time to try again', async () => {
    const starting = await serverForTest({}, { initialize: false });
    const expectUnready = async () => {
      expect(JSON.parse((await get('/v2', starting.url)).text)).toMatchObject({ name: 'blip-handler' });
      expectJson(await get('/v2/health/live', starting.url), 200, { live: true });
      expectJson(await get('/v2/health/ready', starting.url), 503, { live: true, ready: false });
      const modelReady = await get('/v2/models/captioning/ready', starting.url);
      expectJson(modelReady, 503, { name: 'captioning', ready: false });
      const refused = await postInference(starting.url, { inputs: [bytes('img_url', [chelsea])] });
      expectError(refused, 503, 'NOT_READY');
      expect(refused.headers['retry-after']).toMatch(/^\d+$/);
    };
    await expectUnready();
    await starting.model.initialize();
    expectJson(await get('/v2/health/ready', starting.url), 200, { live: true, ready: true });
    readAnswer(await postInference(starting.url, { inputs: [bytes('img_url', [chelsea])] }));
    await starting.model.finalize();
    await expectUnready();
  });

  test('is answered to HEAD as to GET, without a body', async () => {
    const answer = await send(server.url, { method: 'HEAD', path: '/v2/health/ready' });
    expect(answer).toMatchObject({ status: 200, text: '' });
  });
});

describe('metadata', () => {
  const metadata = {
    name: 'captioning',
    versions: ['1'],
    platform: 'onnx_onnxv1',
    parameters: { precision: 'float32' },
    inputs: Object.entries(schemas.captioning.inputs).map(([name, { datatype, shape }]) => ({
      name,
      datatype: datatype === 'STRING' ? 'BYTES' : datatype,
      shape,
    })),
    outputs: Object.entries(schemas.captioning.outputs).map(([name, { datatype, shape }]) => ({
      name,
      datatype,
      shape,
    })),
  };

  test('of the service', async () => {
    expectJson(await get('/v2'), 200, {
      name: 'captioning',
      version: expect.stringMatching(/^\d/),
      extensions: ['binary_tensor_data', 'generate', 'model_repository', 'statistics'],
    });
    expectJson(await get('/v2/models'), 200, { models: ['captioning'] });
  });

  test.each(['/v2/models/captioning', '/v2/models/captioning/versions/1', '/v2/models/captioning/'])(
    'of the model at %s, as in input_schema.ts',
    async (path) => {
      expectJson(await get(path), 200, metadata);
      expect(metadata.inputs[0]).toEqual({ name: 'img_url', datatype: 'BYTES', shape: [-1] });
    },
  );

  test("has the paths of the model's name", async () => {
    const renamed = await serverForTest({ modelName: 'my-blip.large' }, { initialize: false });
    expectJson(await get('/v2/models', renamed.url), 200, { models: ['my-blip.large'] });
    expectJson(await get('/v2/models/my%2Dblip%2Elarge/ready', renamed.url), 503, {
      name: 'my-blip.large',
      ready: false,
    });
    expectError(await get('/v2/models/captioning', renamed.url), 404, 'NOT_FOUND');
  });
});

describe('paths and methods', () => {
  test.each(['', '/ready', '/infer'])(
    'version 1 of the model is served, other versions and models are not: %s',
    async (suffix) => {
      const at = (path: string) =>
        suffix === '/infer'
          ? postInference(server.url, { inputs: [bytes('img_url', [chelsea])] }, { path: path + suffix })
          : get(path + suffix);
      expect(await at('/v2/models/captioning/versions/1')).toMatchObject({ status: 200 });
      for (const version of ['2', '0', '01', '1.0', 'latest']) {
        const { error } = expectError(await at(`/v2/models/captioning/versions/${version}`), 404, 'NOT_FOUND');
        expect(error).toContain(version);
      }
      const { error } = expectError(await at('/v2/models/other'), 404, 'NOT_FOUND');
      expect(error).toMatch(/^Request for unknown model: 'other' is not found/);
    },
  );

  test.each([
    '/v1/models/captioning:predict',
    '/v2/health',
    '/v2/models/captioning/infer/more',
    '/v2/models/captioning/unknown',
    '/v2/models//ready',
  ])('the path %s is not found', async (path) => {
    expectError(await get(path), 404, 'NOT_FOUND');
  });

  test('a model name of thousands of characters is not found', async () => {
    expectError(await get(`/v2/models/${'x'.repeat(5_000)}/ready`), 404, 'NOT_FOUND');
  });

  test('a slash at the end is ignored', async () => {
    expect(await get('/v2/')).toMatchObject({ status: 200 });
    expect(await get('/v2/models/captioning/ready/')).toMatchObject({ status: 200 });
  });

  test('a path that does not decode is refused', async () => {
    expectError(await get('/v2/models/%E0%A4%A'), 400, 'INVALID_REQUEST');
    expectError(await get('/v2/models/%ff/ready'), 400, 'INVALID_REQUEST');
  });

  test.each([
    ['POST', '/v2'],
    ['PUT', '/v2/health/live'],
    ['DELETE', '/v2/health/ready'],
    ['POST', '/v2/models'],
    ['PATCH', '/v2/models/captioning'],
    ['POST', '/v2/models/captioning/ready'],
    ['OPTIONS', '/v2/models/captioning/versions/1'],
    ['TRACE', '/v2/models'],
    ['QUERY', '/v2/models'],
  ])('%s %s is refused with the allowed methods', async (method, path) => {
    const answer = await send(server.url, { method, path });
    expectError(answer, 405, 'METHOD_NOT_ALLOWED');
    expect(answer.headers['allow']).toBe('GET, HEAD');
  });

  test.each(['GET', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])('%s of the inference route is refused', async (method) => {
    const answer = await send(server.url, { method, path: INFER_PATH });
    expectError(answer, 405, 'METHOD_NOT_ALLOWED');
    expect(answer.headers['allow']).toBe('POST');
  });
});

describe('the request of the Inferless template', () => {
  /** The request of its README, with the picture on loopback. */
  const template = (url: string) => ({
    inputs: [
      { name: 'img_url', shape: [1], data: [url], datatype: 'BYTES' },
      { name: 'text', optional: true, shape: [1], data: ['a photography of'], datatype: 'BYTES' },
    ],
  });

  test('is answered with one caption that starts with the prompt', async () => {
    const answer = await post(template(`${images.url}/chelsea.png`), {
      'content-type': 'application/json',
      authorization: 'Bearer something',
    });
    expectJson(answer, 200, {
      model_name: 'captioning',
      model_version: '1',
      parameters: { precision: 'float32' },
      outputs: [
        { name: 'generated_output', datatype: 'BYTES', shape: [1], data: [expect.stringMatching(/^a photography of/)] },
      ],
    });
  });

  test('has the keys of its answer in the order of Triton', async () => {
    const { text } = await post({ id: 'seven', ...template(chelsea) });
    expect(text).toMatch(
      /^\{"model_name":"captioning","model_version":"1","id":"seven","parameters":\{"precision":"float32"\},"outputs":\[\{"name":"generated_output","datatype":"BYTES","shape":\[1\],"data":\["[^"]+"\]\}\]\}$/,
    );
  });

  test('may have the keys without effect that clients send, at every place', async () => {
    const plain = template(chelsea);
    const more = {
      ...plain,
      model_name: 'captioning',
      parameters: { priority: 3, sequence_id: 'x', headers: { a: 'b' } },
      inputs: plain.inputs.map((tensor) => ({ ...tensor, parameters: { content_type: 'str' } })),
      outputs: [{ name: 'generated_output', parameters: { binary_data: false } }],
    };
    expect(await captions(more)).toEqual(await captions(plain));
  });

  test('may have null for each absent value, as public clients send it', async () => {
    const body = readFileSync(requestPath('nulls'), 'utf8');
    const { parameters, outputs, id, inputs } = JSON.parse(body);
    expect([parameters, outputs, id, inputs[0].parameters]).toEqual([null, null, null, null]);
    expect(await captions(JSON.parse(body))).toEqual(await captions({ inputs: [{ ...inputs[0], parameters: {} }] }));
  });

  test.each([
    ['extra', (plain: object) => ({ ...plain, extra: { nested: [1] } })],
    ['note', (plain: object) => ({ ...plain, parameters: { note: 'x' } })],
    ['constructor', (plain: object) => ({ ...plain, parameters: { constructor: 'y' } })],
    ['toString', (plain: object) => ({ ...plain, inputs: [{ ...template(chelsea).inputs[0], toString: 1 }] })],
  ])('may have no key that nobody reads: %s', async (name, change) => {
    const answer = await postInference(server.url, change(template(chelsea)));
    expect(answer.status).toBe(400);
    expect(JSON.parse(answer.text).error).toContain(`known names only, got "${name}"`);
  });

  test.each([
    [undefined],
    ['application/json; charset=utf-8'],
    ['application/octet-stream'],
    ['text/plain'],
    ['application/x-www-form-urlencoded'],
    ['multipart/form-data'],
    ['nonsense'],
    [''],
    ['application/json;;;='],
  ])('works with the content type %s', async (contentType) => {
    const answer = await post(template(chelsea), contentType === undefined ? {} : { 'content-type': contentType });
    expect(outputOf(readAnswer(answer), 'generated_output').shape).toEqual([1]);
  });

  test('may come in chunks', async () => {
    const answer = await postInference(server.url, template(chelsea), {
      headers: { 'transfer-encoding': 'chunked' },
    });
    expect(outputOf(readAnswer(answer), 'generated_output').data).toEqual(await captions(template(chelsea)));
  });
});

describe('images and prompts', () => {
  const alone = async (image: string, text: string) =>
    (await captions({ inputs: [bytes('img_url', [image]), bytes('text', [text])] }))[0];

  test('each of several images has its caption, in order', async () => {
    const both = await captions({ inputs: [bytes('img_url', [chelsea, `${images.url}/rocket.jpg`, chelsea])] });
    const [first, second] = [await alone(chelsea, ''), await alone(rocket, '')];
    expect(first).not.toBe(second);
    expect(both).toEqual([first, second, first]);
  });

  test('one prompt may serve for all images, or each image has its own', async () => {
    const sources = bytes('img_url', [chelsea, rocket]);
    expect(await captions({ inputs: [sources, bytes('text', ['a picture of'])] })).toEqual([
      await alone(chelsea, 'a picture of'),
      await alone(rocket, 'a picture of'),
    ]);
    expect(await captions({ inputs: [sources, bytes('text', ['the', 'a picture of'])] })).toEqual([
      await alone(chelsea, 'the'),
      await alone(rocket, 'a picture of'),
    ]);
  });

  test('several prompts about one image have a caption each', async () => {
    expect(
      await captions({ inputs: [bytes('img_url', [chelsea]), bytes('text', ['the', '', 'a picture of'])] }),
    ).toEqual([await alone(chelsea, 'the'), await alone(chelsea, ''), await alone(chelsea, 'a picture of')]);
  });

  test('an empty prompt is as no prompt', async () => {
    expect(await captions({ inputs: [bytes('img_url', [chelsea])] })).toEqual([await alone(chelsea, '')]);
  });

  test('as many prompts as neither one nor the images are refused', async () => {
    const answer = await post({ inputs: [bytes('img_url', [chelsea, rocket]), bytes('text', ['a', 'b', 'c'])] });
    expect(expectError(answer, 400, 'INVALID_INPUT').error).toContain('2 images');
  });

  test('data may be nested, and STRING is BYTES', async () => {
    const nested = {
      inputs: [
        { name: 'img_url', shape: [2, 1], datatype: 'STRING', data: [[chelsea], [rocket]] },
        { name: 'text', shape: [1, 1], datatype: 'STRING', data: [['the']] },
      ],
    };
    const flat = { inputs: [bytes('img_url', [chelsea, rocket]), bytes('text', ['the'])] };
    expect(await captions(nested)).toEqual(await captions(flat));
  });

  test('a prompt that does not fit the positions of the model is refused', async () => {
    const answer = await post({
      inputs: [bytes('img_url', [chelsea]), bytes('text', [Array.from({ length: 40 }, () => 'dog').join(' ')])],
    });
    expect(expectError(answer, 400, 'PROMPT_TOO_LONG').error).toContain('48 positions');
  });

  test('more new tokens than the positions of the model are refused', async () => {
    const body = (tokens: number) => ({
      inputs: [bytes('img_url', [chelsea])],
      parameters: { max_new_tokens: tokens },
    });
    readAnswer(await post(body(48)));
    expectError(await post(body(49)), 400, 'PROMPT_TOO_LONG');
  });
});

describe('an answer', () => {
  const outputs = (...names: string[]) => names.map((name) => ({ name }));

  test.each(['', 'seven', 'ünïcödé 🐈', '7'.repeat(300)])('has the id %j of its request', async (id) => {
    expect(readAnswer(await post({ id, inputs: [bytes('img_url', [chelsea])] })).id).toBe(id);
  });

  test('has no id where its request has none', async () => {
    expect(readAnswer(await post({ inputs: [bytes('img_url', [chelsea])] }))).not.toHaveProperty('id');
  });

  test('has exactly the requested outputs, in their order', async () => {
    const inputs = [bytes('img_url', [chelsea])];
    for (const names of [
      ['token_ids'],
      ['sequence_score', 'generated_output'],
      ['error', 'token_logprobs', 'token_ids'],
    ]) {
      const answer = readAnswer(await post({ inputs, outputs: outputs(...names) }));
      expect(answer.outputs.map(({ name }) => name)).toEqual(names);
    }
    expectError(
      await post({ inputs, outputs: outputs('generated_output', 'generated_output') }),
      400,
      'INVALID_REQUEST',
    );
    expect(expectError(await post({ inputs, outputs: outputs('logits') }), 400, 'INVALID_REQUEST').error).toContain(
      '"logits"',
    );
  });

  test('has tokens padded to the longest caption, with their log-probabilities and scores', async () => {
    const prompts = ['', 'a photography of a small'];
    const answer = readAnswer(
      await post({
        inputs: [bytes('img_url', [chelsea]), bytes('text', prompts)],
        parameters: { num_beams: 2, max_new_tokens: 6, min_new_tokens: 6 },
        outputs: outputs('token_ids', 'token_logprobs', 'sequence_score'),
      }),
    );
    const [ids, logprobs, scores] = answer.outputs;
    expect(ids).toMatchObject({ name: 'token_ids', datatype: 'INT64' });
    expect(logprobs).toMatchObject({ name: 'token_logprobs', datatype: 'FP32' });
    expect(scores).toMatchObject({ name: 'sequence_score', datatype: 'FP32', shape: [2] });
    const length = ids?.shape[1] ?? 0;
    expect(ids?.shape).toEqual([2, length]);
    expect(logprobs?.shape).toEqual([2, length]);
    expect(logprobs?.data).toHaveLength(2 * length);
    // The first has a start token and six more; the second a prompt of five or more words before its six.
    expect(length).toBeGreaterThan(7 + 4);
    const row = (tensor: typeof ids, index: number) =>
      (tensor?.data ?? []).slice(index * length, (index + 1) * length).map(Number);
    expect(row(ids, 0).slice(7)).toEqual(Array.from({ length: length - 7 }, () => 0));
    expect(row(logprobs, 0).slice(7)).toEqual(Array.from({ length: length - 7 }, () => 0));
    expect(row(logprobs, 1).slice(0, length - 6)).toEqual(Array.from({ length: length - 6 }, () => 0));
    for (const index of [0, 1]) {
      const chosen = row(logprobs, index).filter((value) => value !== 0);
      expect(chosen).toHaveLength(6);
      const mean = chosen.reduce((sum, value) => sum + value, 0) / 6;
      expectClose([Number(scores?.data[index])], [mean], { absolute: 1e-5 });
    }
  });

  test('has a second dimension for several captions per image', async () => {
    const answer = readAnswer(
      await post({
        inputs: [bytes('img_url', [chelsea, rocket])],
        parameters: { num_beams: 4, num_return_sequences: 3, max_new_tokens: 5 },
        outputs: outputs('generated_output', 'token_ids', 'token_logprobs', 'sequence_score', 'error'),
      }),
    );
    const longest = outputOf(answer, 'token_ids').shape[2] ?? 0;
    expect(longest).toBeGreaterThan(1);
    expect(longest).toBeLessThanOrEqual(6);
    expect(Object.fromEntries(answer.outputs.map(({ name, shape }) => [name, shape]))).toEqual({
      generated_output: [2, 3],
      token_ids: [2, 3, longest],
      token_logprobs: [2, 3, longest],
      sequence_score: [2, 3],
      error: [2],
    });
    for (const { data, shape } of answer.outputs)
      expect(data).toHaveLength(shape.reduce((product, size) => product * size, 1));
    const scores = outputOf(answer, 'sequence_score').data.map(Number);
    expect(scores.slice(0, 3)).toEqual(scores.slice(0, 3).toSorted((a, b) => b - a));
    expect(outputOf(answer, 'error').data).toEqual(['', '']);
  });
});

describe('generation parameters', () => {
  const inputs = [bytes('img_url', [chelsea])];
  const tensor = (name: string, datatype: string, value: unknown) => ({ name, shape: [1], datatype, data: [value] });

  test('may come as parameters of the request or as input tensors of any width', async () => {
    const asParameters = await captions({
      inputs,
      parameters: { num_beams: 4, max_new_tokens: 7, length_penalty: 2.5, early_stopping: 'never' },
    });
    const asTensors = await captions({
      inputs: [
        ...inputs,
        tensor('num_beams', 'INT32', 4),
        tensor('max_new_tokens', 'UINT8', 7),
        tensor('length_penalty', 'FP64', 2.5),
        tensor('early_stopping', 'BYTES', 'never'),
      ],
    });
    expect(asTensors).toEqual(asParameters);
    expect(asTensors).not.toEqual(await captions({ inputs }));
  });

  test('as a tensor override a parameter of the same name', async () => {
    const ids = readAnswer(
      await post({
        inputs: [...inputs, tensor('max_new_tokens', 'INT64', 3)],
        parameters: { max_new_tokens: 9, min_new_tokens: 3 },
        outputs: [{ name: 'token_ids' }],
      }),
    );
    expect(outputOf(ids, 'token_ids').shape).toEqual([1, 4]);
  });

  test('whole numbers serve as floats, and booleans for early_stopping', async () => {
    readAnswer(
      await post({
        inputs: [
          ...inputs,
          tensor('num_beams', 'INT64', 2),
          tensor('length_penalty', 'INT64', 1),
          tensor('early_stopping', 'BOOL', true),
        ],
      }),
    );
  });

  test('with an equal seed draw equal captions; another seed or none draws others', async () => {
    const draw = (seed: object) =>
      captions({ inputs, parameters: { do_sample: true, temperature: 3, top_k: 0, max_new_tokens: 30, ...seed } });
    const first = await draw({ seed: 1 });
    expect(await draw({ seed: 1 })).toEqual(first);
    expect(await draw({ seed: 2 })).not.toEqual(first);
    expect(await draw({})).not.toEqual(await draw({}));
  });

  test('sampling returns several different captions', async () => {
    const answer = readAnswer(
      await post({
        inputs,
        parameters: { do_sample: true, temperature: 3, top_k: 0, num_return_sequences: 4, seed: 4_294_967_295 },
      }),
    );
    const { shape, data } = outputOf(answer, 'generated_output');
    expect(shape).toEqual([1, 4]);
    expect(new Set(data).size).toBe(4);
  });

  test('values that contradict each other are refused', async () => {
    for (const parameters of [
      { num_return_sequences: 2 },
      { num_beams: 2, num_return_sequences: 3, do_sample: true },
    ]) {
      expectError(await post({ inputs, parameters }), 400, 'INVALID_PARAMETER');
    }
  });

  test.each([
    { do_sample: true, temperature: 1e-50 },
    { do_sample: true, temperature: 1e-38 },
    { do_sample: true, top_p: 1e-50 },
    { repetition_penalty: 1e-50 },
    { repetition_penalty: 1e-30 },
    { num_beams: 2, length_penalty: 100 },
    { num_beams: 2, length_penalty: -100 },
  ])('of extreme size (%j) are refused, or answered with a token and finite numbers', async (parameters) => {
    const answer = await post({
      inputs,
      parameters: { ...parameters, max_new_tokens: 20 },
      outputs: ['token_ids', 'token_logprobs', 'sequence_score'].map((name) => ({ name })),
    });
    if (answer.status !== 200) {
      expectError(answer, 400, 'INVALID_INPUT');
      return;
    }
    const { outputs } = readAnswer(answer);
    expect(outputs.flatMap(({ data }) => data).filter((value) => typeof value !== 'number')).toEqual([]);
    expect(outputs[0]?.shape[1]).toBeGreaterThan(1);
  });

  test('values out of their range are refused by name', async () => {
    const wrong: Readonly<Record<string, string | number | boolean>> = {
      num_beams: 33,
      max_new_tokens: 0,
      min_new_tokens: -1,
      temperature: 0,
      top_p: 1.5,
      top_k: 2.5,
      do_sample: 'yes',
      early_stopping: 'sometimes',
      seed: 4_294_967_296,
      repetition_penalty: -1,
    };
    for (const [name, value] of Object.entries(wrong)) {
      const { error } = expectError(await post({ inputs, parameters: { [name]: value } }), 400, 'INVALID_INPUT');
      expect(error).toContain(name);
    }
  });
});

describe('images that cannot be captioned', () => {
  test('have an error each, beside the captions of the others', async () => {
    const answer = readAnswer(
      await post({ inputs: [bytes('img_url', [chelsea, `${images.url}/missing.png`, rocket])] }),
    );
    const good = await captions({ inputs: [bytes('img_url', [chelsea, rocket])] });
    expect(answer.outputs.map(({ name }) => name)).toEqual(['generated_output', 'error']);
    expect(outputOf(answer, 'generated_output')).toMatchObject({ shape: [3], data: [good[0], '', good[1]] });
    expect(outputOf(answer, 'error')).toMatchObject({
      shape: [3],
      data: ['', expect.stringMatching(/^IMAGE_FETCH_FAILED: .*404/), ''],
    });
  });

  test('have empty rows in beam search', async () => {
    const answer = readAnswer(
      await post({
        inputs: [bytes('img_url', ['!', chelsea])],
        parameters: { num_beams: 2, num_return_sequences: 2 },
        outputs: [{ name: 'token_ids' }],
      }),
    );
    const ids = outputOf(answer, 'token_ids');
    expect(ids.shape.slice(0, 2)).toEqual([2, 2]);
    expect(new Set(ids.data.slice(0, ids.data.length / 2))).toEqual(new Set([0]));
    expect(outputOf(answer, 'error').data).toEqual([expect.stringMatching(/^IMAGE_SOURCE_INVALID: /), '']);
  });

  test('for the length of their prompt fail alone as well', async () => {
    const long = Array.from({ length: 40 }, () => 'dog').join(' ');
    const answer = readAnswer(await post({ inputs: [bytes('img_url', [chelsea]), bytes('text', ['the', long])] }));
    expect(outputOf(answer, 'error').data).toEqual(['', expect.stringMatching(/^PROMPT_TOO_LONG: /)]);
  });

  test.each([
    ['/missing.png', 424, 'IMAGE_FETCH_FAILED'],
    ['/page.html', 400, 'IMAGE_UNSUPPORTED'],
  ] as const)('fail the request where no image is good: %s', async (path, status, code) => {
    const source = `${images.url}${path}`;
    expectError(await post({ inputs: [bytes('img_url', [source])] }), status, code);
    expectError(await post({ inputs: [bytes('img_url', [source, source])] }), status, code);
  });

  test.each([
    ['another scheme', 'ftp://127.0.0.1/cat.png', 'IMAGE_SOURCE_INVALID'],
    ['a file URL', 'file:///etc/passwd', 'IMAGE_SOURCE_INVALID'],
    ['a path, which is base64 by its letters', '/etc/passwd', 'IMAGE_SOURCE_INVALID'],
    ['half a URL', 'http://', 'IMAGE_SOURCE_INVALID'],
    ['nothing', '', 'IMAGE_SOURCE_INVALID'],
    ['a data: URI without data', 'data:image/png;base64', 'IMAGE_SOURCE_INVALID'],
    ['SVG', 'data:image/svg+xml,<svg xmlns="http://www.w3.org/2000/svg"/>', 'IMAGE_UNSUPPORTED'],
    ['text', `data:;base64,${Buffer.from('no picture').toString('base64')}`, 'IMAGE_UNSUPPORTED'],
    ['half a picture', chelsea.slice(0, 160_000), 'IMAGE_CORRUPT'],
  ])('are refused with their own code: %s', async (_, source, code) => {
    const { error } = expectError(await post({ inputs: [bytes('img_url', [source])] }), 400, code);
    expect(error).not.toMatch(/root:|passwd/);
  });

  test('because they do not arrive in time are refused', async () => {
    const slow = await serverForTest({ imageTimeoutMs: 100 });
    const answer = await postInference(slow.url, { inputs: [bytes('img_url', [`${images.url}/held.png`])] });
    expectError(answer, 424, 'IMAGE_FETCH_TIMEOUT');
  });
});

describe('limits', () => {
  test('a body that is too large is refused, with or without content-length', async () => {
    const small = await serverForTest({ maxBodyBytes: 1_000 });
    const body = JSON.stringify({ inputs: [bytes('img_url', ['x'.repeat(2_000)])] });
    expectError(await postInference(small.url, body), 413, 'PAYLOAD_TOO_LARGE');
    const chunked = { 'transfer-encoding': 'chunked' };
    expectError(await postInference(small.url, body, { headers: chunked }), 413, 'PAYLOAD_TOO_LARGE');
    expectError(await postInference(small.url, 'x'.repeat(1_000)), 400, 'INVALID_REQUEST');
  });

  test('a full queue refuses with the time to try again, and takes requests when it has room', async () => {
    const pictures = await imageServerForTest();
    const narrow = await serverForTest({ maxQueueSize: 2 });
    const held = { inputs: [bytes('img_url', [`${pictures.url}/held.png`])] };
    const accepted = [postInference(narrow.url, held), postInference(narrow.url, held)];
    await pictures.held(2);
    const refused = await postInference(narrow.url, { inputs: [bytes('img_url', [chelsea])] });
    expectError(refused, 429, 'OVERLOADED');
    expect(refused.headers['retry-after']).toMatch(/^\d+$/);
    pictures.release();
    for (const answer of await Promise.all(accepted)) readAnswer(answer);
    readAnswer(await postInference(narrow.url, { inputs: [bytes('img_url', [chelsea, rocket])] }));
  });

  test('more captions in one request than the queue holds are refused for good', async () => {
    const narrow = await serverForTest({ maxQueueSize: 2 });
    const answer = await postInference(narrow.url, { inputs: [bytes('img_url', [chelsea, rocket, chelsea])] });
    expectError(answer, 400, 'INVALID_INPUT');
  });
});

describe('bearer tokens', () => {
  const guarded = withServer({ apiTokens: ['first-token', 'second-token'] });
  const ask = (headers: Record<string, string>, path = INFER_PATH) =>
    postInference(guarded.url, { inputs: [bytes('img_url', [chelsea])] }, { headers, path });

  test.each([
    [{}],
    [{ authorization: '' }],
    [{ authorization: 'Bearer' }],
    [{ authorization: 'Bearer ' }],
    [{ authorization: 'Bearer wrong' }],
    [{ authorization: 'Bearer first-toke' }],
    [{ authorization: 'Bearer first-tokens' }],
    [{ authorization: 'Bearer FIRST-TOKEN' }],
    [{ authorization: 'Bearer first-token,second-token' }],
    [{ authorization: 'first-token' }],
    [{ authorization: 'Basic first-token' }],
    [{ authorization: `Basic ${Buffer.from('first-token:').toString('base64')}` }],
    [{ 'x-api-key': 'first-token' }],
  ])('%j is refused', async (headers) => {
    const answer = await ask(headers);
    const { error } = expectError(answer, 401, 'UNAUTHORIZED');
    expect(answer.headers['www-authenticate']).toMatch(/^Bearer/);
    expect(error).not.toMatch(/first|second/);
  });

  test.each([
    'Bearer first-token',
    'Bearer second-token',
    'bearer first-token',
    'BEARER second-token',
    'Bearer  first-token ',
  ])('%j is accepted', async (authorization) => {
    readAnswer(await ask({ authorization }));
  });

  test("the token is checked before the model's name", async () => {
    expectError(await ask({}, '/v2/models/other/infer'), 401, 'UNAUTHORIZED');
  });

  test.each([
    '/v2',
    '/v2/health/live',
    '/v2/health/ready',
    '/v2/models',
    '/v2/models/captioning',
    '/v2/models/captioning/ready',
  ])('%s needs no token', async (path) => {
    expect(await get(path, guarded.url)).toMatchObject({ status: 200 });
  });
});

describe('the captions themselves', () => {
  test('equal those of the handler', async () => {
    const direct = await server.model.infer({ img_url: [chelsea, rocket], text: 'a picture of', num_beams: 3 });
    const served = await captions({
      inputs: [bytes('img_url', [chelsea, rocket]), bytes('text', ['a picture of'])],
      parameters: { num_beams: 3 },
    });
    expect(served).toEqual(direct.generated_output);
  });

  const rows = readGoldenGenerations('narrow-vision').filter(({ parameters }) => parameters['do_sample'] !== true);
  const named = (row: GoldenGeneration) =>
    [`${row.image}, ${row.prompt ?? 'no prompt'}, ${JSON.stringify(row.parameters)}`, row] as const;

  test('the goldens were found', () => {
    expect(rows.filter(({ parameters }) => Object.keys(parameters).length === 0)).toHaveLength(5);
  });

  test.each(rows.map(named))('equal those of transformers: %s', async (_, row) => {
    const { image, prompt, parameters, sequences } = row;
    const answer = readAnswer(
      await post({
        inputs: [bytes('img_url', [dataUri(image)]), ...(prompt === null ? [] : [bytes('text', [prompt])])],
        parameters,
        outputs: ['token_ids', 'token_logprobs', 'sequence_score'].map((name) => ({ name })),
      }),
    );
    const longest = Math.max(...sequences.map(({ token_ids: ids }) => ids.length));
    const padded = sequences.flatMap(({ token_ids: ids }) => [
      ...ids,
      ...Array.from({ length: longest - ids.length }, () => 0),
    ]);
    const ids = outputOf(answer, 'token_ids');
    expect(ids.data).toEqual(padded);
    expect(ids.shape).toEqual(sequences.length === 1 ? [1, longest] : [1, sequences.length, longest]);
    const logprobs = sequences.flatMap(({ token_ids: all, token_logprobs: generated }) => [
      ...Array.from({ length: all.length - generated.length }, () => 0),
      ...generated,
      ...Array.from({ length: longest - all.length }, () => 0),
    ]);
    expectClose(outputOf(answer, 'token_logprobs').data.map(Number), logprobs, { absolute: 1e-3 });
    if (sequences.every(({ score }) => score !== undefined)) {
      const scores = sequences.map(({ score }) => score ?? 0);
      expectClose(outputOf(answer, 'sequence_score').data.map(Number), scores, { absolute: 1e-3, relative: 1e-4 });
    }
  });
});
