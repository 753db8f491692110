import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import Handler from '../../../../app.ts';
import { createServer } from '../../../../handlers/http/server.ts';
import { expectClose } from '../../../support/close-to.ts';
import { checkpointFolder, type ImageName, imagePath } from '../../../support/goldens.ts';
import {
  bytes,
  dataUri,
  expectError,
  type HttpAnswer,
  type InferenceAnswer,
  modelSettingsOf,
  outputOf,
  postInference,
  readAnswer,
  send,
  serverTestSettings,
  testSettings,
} from '../../../support/server.ts';
import { serverForTest, withImageServer, withServer } from '../../../support/with-server.ts';

/** The routes of bentoml/CLIP-API-service. The requests have the shapes of its README. */

const clip = { checkpoint: checkpointFolder('clip-placeholder-end') };
const CLIP_PATH = '/v2/models/clip/infer';

/** Tolerance between an item alone and beside others, which are computed in batches of other sizes. */
const BATCH_TOLERANCE = { absolute: 1e-5 };
/** Tolerance for sums of float32 values, each rounded once. */
const SUM_TOLERANCE = 1e-5;

const server = withServer(clip);
const images = withImageServer();

function post(path: string, body: unknown, headers: Record<string, string> = {}, url = server.url) {
  return send(url, { method: 'POST', path, headers, body: typeof body === 'string' ? body : JSON.stringify(body) });
}

type Matrix = readonly (readonly number[])[];

/** The body of a successful answer. */
function readJson(answer: HttpAnswer): unknown {
  expect(answer, answer.text).toMatchObject({ status: 200, headers: { 'content-type': 'application/json' } });
  return JSON.parse(answer.text);
}

async function encode(items: unknown): Promise<Matrix> {
  return readJson(await post('/encode', items)) as Matrix; // The shape that the route answers with.
}

interface Ranking {
  readonly probabilities: Matrix;
  readonly cosine_similarities: Matrix;
}

async function rank(queries: unknown, candidates: unknown): Promise<Ranking> {
  return readJson(await post('/rank', { queries, candidates })) as Ranking; // The shape that the route answers with.
}

/** The answer of the KServe route to the equal request. */
async function infer(
  inputs: readonly object[],
  request: { parameters?: object; outputs?: readonly string[] } = {},
): Promise<InferenceAnswer> {
  const { parameters, outputs } = request;
  const body = { inputs, parameters, outputs: outputs?.map((name) => ({ name })) };
  return readAnswer(await postInference(server.url, body, { path: CLIP_PATH }));
}

function int64s(name: string, data: readonly number[]): object {
  return { name, shape: [data.length], datatype: 'INT64', data };
}

/** The rows of an output of two dimensions. */
function matrixOf(answer: InferenceAnswer, name: string): Matrix {
  const { shape, data } = outputOf(answer, name);
  const [count = 0, length = 0] = shape;
  return Array.from({ length: count }, (_, row) => data.slice(row * length, (row + 1) * length).map(Number));
}

function expectMatrix(got: Matrix, want: Matrix, tolerance = BATCH_TOLERANCE): void {
  expect(got.map(({ length }) => length)).toEqual(want.map(({ length }) => length));
  expectClose(got.flat(), want.flat(), tolerance);
}

const base64 = (image: ImageName) => readFileSync(imagePath(image)).toString('base64');
const lengthOf = (vector: readonly number[]) => Math.hypot(...vector);
const sumOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);
const transposed = (matrix: Matrix): Matrix =>
  (matrix[0] ?? []).map((_, column) => matrix.map((row) => row[column] ?? Number.NaN));

const chelsea = () => ({ img_uri: `${images.url}/chelsea.png` });
const rocket = () => ({ img_uri: `${images.url}/rocket.jpg` });
const small = () => ({ img_blob: base64('small') });
const dog = { text: 'picture of a dog' };
const cat = { text: 'picture of a cat' };

describe('POST /encode', () => {
  test('an image by its address, a text and an image in base64 have their vectors in this order', async () => {
    const vectors = await encode([chelsea(), dog, small()]);
    const answer = await infer([
      bytes('img_url', [`${images.url}/chelsea.png`, dataUri('small')]),
      bytes('text', ['picture of a dog']),
    ]);
    const [first, last] = matrixOf(answer, 'image_embeds');
    expect(vectors).toEqual([first, ...matrixOf(answer, 'text_embeds'), last]);
  });

  test('vectors are not scaled to unit length', async () => {
    const vectors = await encode([chelsea(), dog]);
    for (const vector of vectors) expect(Math.abs(lengthOf(vector) - 1)).toBeGreaterThan(0.1);
    const inputs = [bytes('img_url', [`${images.url}/chelsea.png`]), bytes('text', ['picture of a dog'])];
    const normalized = await infer(inputs, { parameters: { normalize: true } });
    const units = [...matrixOf(normalized, 'image_embeds'), ...matrixOf(normalized, 'text_embeds')];
    expectMatrix(
      vectors.map((vector) => vector.map((value) => value / lengthOf(vector))),
      units,
      { absolute: 1e-6 },
    );
  });

  test('each image and text has the vector that it has alone, whatever their order', async () => {
    const items = [cat, rocket(), dog, small(), chelsea(), { text: 'x' }, rocket(), dog];
    const alone = [];
    for (const item of items) alone.push(...(await encode([item])));
    expectMatrix(await encode(items), alone);
    expect(new Set(alone.map(String)).size).toBe(6);
  });

  test('texts alone and images alone are answered', async () => {
    expect(await encode([dog, cat, { text: '' }])).toHaveLength(3);
    expect(await encode([rocket(), small()])).toHaveLength(2);
  });

  test('keys with null are ignored', async () => {
    const items = [
      { img_uri: null, img_blob: null, text: 'x' },
      { img_uri: null, text: 'x' },
      { img_uri: null, img_blob: base64('small'), text: null },
      { ...rocket(), img_blob: null, text: null },
    ];
    expect(await encode(items)).toEqual(await encode([{ text: 'x' }, { text: 'x' }, small(), rocket()]));
  });

  test('an address overrides base64, and both override a text', async () => {
    const items = [
      { ...rocket(), ...small(), ...dog },
      { ...small(), ...dog },
      { ...dog, ...chelsea() },
    ];
    expect(await encode(items)).toEqual(await encode([rocket(), small(), chelsea()]));
  });

  test.each([
    [{ ...dog, id: 7 }, 'got "id".'],
    [{ ...dog, img_url: 'x' }, 'got "img_url": did you mean img_uri?'],
    [{ image_base64: 'x' }, 'got "image_base64": did you mean img_blob?'],
    [{ ...dog, constructor: 1 }, 'got "constructor".'],
  ])('unknown keys are refused: %j', async (item, end) => {
    const { error } = expectError(await post('/encode', [item]), 400, 'INVALID_REQUEST');
    expect(error).toBe(`Expected [0] to have known names only, ${end}`);
  });

  test('an address may be a data: URI, and base64 may be broken into lines, as MIME has it', async () => {
    const lines = base64('small').replace(/.{76}/g, '$&\r\n');
    const [whole] = await encode([small()]);
    expect(await encode([{ img_blob: lines }])).toEqual([whole]);
    expect(await encode([{ img_uri: dataUri('small') }])).toEqual([whole]);
  });

  test('the body may have any content type or none, and the path a slash at its end', async () => {
    const vectors = await encode([dog]);
    for (const headers of [{}, { 'content-type': 'application/json' }, { 'content-type': 'text/plain' }])
      expect(readJson(await post('/encode/', [dog], headers))).toEqual(vectors);
  });
});

describe('POST /rank', () => {
  const six = ['dog', 'cat', 'bird', 'car', 'plane', 'boat'].map((name) => `picture of a ${name}`);
  const texts = six.map((text) => ({ text }));

  test('one image is compared with six texts', async () => {
    const ranking = await rank([chelsea()], texts);
    expect(Object.keys(ranking)).toEqual(['probabilities', 'cosine_similarities']);
    const answer = await infer([bytes('img_url', [`${images.url}/chelsea.png`]), bytes('text', six)]);
    expect(ranking.probabilities).toEqual(matrixOf(answer, 'probability'));
    expect(ranking.cosine_similarities).toEqual(matrixOf(answer, 'cosine_similarity'));
    expect(ranking.probabilities.map(({ length }) => length)).toEqual([6]);
  });

  test('the probabilities of each query sum to 1, and cosines lie between -1 and 1', async () => {
    const everything = [chelsea(), dog, small(), rocket(), ...texts];
    const { probabilities, cosine_similarities: cosines } = await rank(everything, everything);
    expect(probabilities).toHaveLength(everything.length);
    for (const row of probabilities) {
      expect(row).toHaveLength(everything.length);
      expect(Math.abs(sumOf(row) - 1)).toBeLessThan(SUM_TOLERANCE);
      for (const probability of row) expect(probability).toBeGreaterThanOrEqual(0);
    }
    // The cosine of a picture with itself is 1, which float32 may exceed slightly.
    for (const cosine of cosines.flat()) expect(Math.abs(cosine)).toBeLessThanOrEqual(1 + 1e-6);
    expectMatrix(transposed(cosines), cosines);
    for (const [index, row] of cosines.entries()) expect(Math.abs((row[index] ?? 0) - 1)).toBeLessThan(1e-5);
  });

  test('cosines are those of the vectors, and probabilities the softmax of the scaled cosines', async () => {
    const [queries, candidates] = [
      [chelsea(), cat],
      [dog, small(), rocket(), { text: 'x' }],
    ];
    const { probabilities, cosine_similarities: cosines } = await rank(queries, candidates);
    const vectors = (await encode([...queries, ...candidates])).map((vector) =>
      vector.map((value) => value / lengthOf(vector)),
    );
    const expected = vectors
      .slice(0, 2)
      .map((query) =>
        vectors.slice(2).map((candidate) => sumOf(query.map((value, index) => value * (candidate[index] ?? 0)))),
      );
    expectMatrix(cosines, expected);
    const scale = Math.exp(2.5); // The logit_scale of the checkpoint: make_family_goldens.py.
    const powers = cosines.map((row) => row.map((cosine) => Math.exp(scale * cosine)));
    expectMatrix(
      probabilities,
      powers.map((row) => row.map((power) => power / sumOf(row))),
    );
  });

  test('texts may be queries for images as images for texts', async () => {
    const [pictures, words] = [
      [chelsea(), small(), rocket()],
      [dog, cat],
    ];
    const forward = await rank(words, pictures);
    const backward = await rank(pictures, words);
    expect(forward.probabilities.map(({ length }) => length)).toEqual([3, 3]);
    expectMatrix(forward.cosine_similarities, transposed(backward.cosine_similarities));
  });

  test('images may be compared with images, and texts with texts', async () => {
    const pictures = await rank([chelsea()], [rocket(), chelsea(), small()]);
    expect(Math.max(...(pictures.probabilities[0] ?? []))).toBe(pictures.probabilities[0]?.[1]);
    const words = await rank([cat, dog], [dog, cat]);
    expect(words.cosine_similarities[0]?.[1]).toBeCloseTo(1, 5);
    expect(words.cosine_similarities[1]?.[0]).toBeCloseTo(1, 5);
  });

  test('queries and candidates may mix images and texts in any order', async () => {
    const queries = [dog, rocket(), { ...small(), img_uri: null }];
    const candidates = [chelsea(), cat, rocket(), { text: 'x' }];
    const { probabilities, cosine_similarities: cosines } = await rank(queries, candidates);
    const alone = [];
    for (const query of queries) alone.push(await rank([query], candidates));
    expectMatrix(
      cosines,
      alone.flatMap((ranking) => ranking.cosine_similarities),
    );
    expectMatrix(
      probabilities,
      alone.flatMap((ranking) => ranking.probabilities),
    );
    const single = [];
    for (const candidate of candidates) single.push((await rank([dog], [candidate])).cosine_similarities[0]?.[0] ?? 0);
    expectMatrix([cosines[0] ?? []], [single]);
  });

  test('a single candidate has a probability of 1', async () => {
    expect((await rank([chelsea()], [dog])).probabilities).toEqual([[1]]);
  });
});

describe('a malformed request is refused', () => {
  const item = { text: 'x' };
  const bodies: readonly (readonly [title: string, path: string, body: unknown])[] = [
    ['an empty body', '/encode', ''],
    ['text that is not JSON', '/encode', '[{"text": "x"'],
    ['an empty list', '/encode', []],
    ['an object in place of a list', '/encode', { text: 'x' }],
    ['a string in place of a list', '/encode', '"x"'],
    ['null', '/encode', 'null'],
    ['an empty item', '/encode', [{}]],
    ['an empty item among others', '/encode', [item, {}, item]],
    ['an item that is null', '/encode', [null]],
    ['an item that is a string', '/encode', ['x']],
    ['an item that is a list', '/encode', [[item]]],
    ['an item of nulls', '/encode', [{ img_uri: null, img_blob: null, text: null }]],
    ['an item of unknown keys only', '/encode', [{ img_url: 'x' }]],
    ['a text that is a number', '/encode', [{ text: 7 }]],
    ['a text that is a list', '/encode', [{ text: ['x'] }]],
    ['an address that is a number', '/encode', [{ img_uri: 7 }]],
    ['base64 that is an object', '/encode', [{ img_blob: {} }]],
    ['a wrong text beside an image', '/encode', [{ text: false, img_blob: 'x' }]],
    ['an empty body', '/rank', ''],
    ['text that is not JSON', '/rank', '{"queries": ['],
    ['a list in place of an object', '/rank', [item]],
    ['an empty object', '/rank', {}],
    ['no candidates', '/rank', { queries: [item] }],
    ['no queries', '/rank', { candidates: [item] }],
    ['an empty list of candidates', '/rank', { queries: [item], candidates: [] }],
    ['an empty list of queries', '/rank', { queries: [], candidates: [item] }],
    ['queries that are null', '/rank', { queries: null, candidates: [item] }],
    ['queries that are an item', '/rank', { queries: item, candidates: [item] }],
    ['an empty candidate', '/rank', { queries: [item], candidates: [item, {}] }],
    ['a query that is a string', '/rank', { queries: ['x'], candidates: [item] }],
    ['a candidate that is a number', '/rank', { queries: [item], candidates: [{ text: 7 }] }],
  ];
  test.each(bodies.map(([title, path, body]) => [path, title, body] as const))('%s: %s', async (path, _, body) => {
    const { error } = expectError(await post(path, body), 400, 'INVALID_REQUEST');
    expect(error).toMatch(/^Expected /);
  });

  test('more items than the queue holds are refused', async () => {
    const narrow = await serverForTest({ ...clip, maxQueueSize: 3 });
    const items = [dog, cat, dog, cat];
    expectError(await post('/encode', items, {}, narrow.url), 400, 'INVALID_INPUT');
    expectError(
      await post('/rank', { queries: items.slice(2), candidates: items.slice(2) }, {}, narrow.url),
      400,
      'INVALID_INPUT',
    );
    readJson(await post('/encode', items.slice(1), {}, narrow.url));
  });

  test('a text that does not fit the positions of the model is refused', async () => {
    expectError(await post('/encode', [dog, { text: 'dog '.repeat(30) }]), 400, 'PROMPT_TOO_LONG');
  });

  test('a body in an unknown encoding is refused', async () => {
    expectError(await post('/encode', [dog], { 'content-encoding': 'br' }), 415, 'UNSUPPORTED_ENCODING');
  });

  test.each(['/encode', '/rank'])('%s takes POST alone', async (path) => {
    for (const method of ['GET', 'PUT', 'DELETE', 'OPTIONS']) {
      const answer = await send(server.url, { method, path });
      expectError(answer, 405, 'METHOD_NOT_ALLOWED');
      expect(answer.headers['allow']).toBe('POST');
    }
  });
});

describe('a bad image fails the whole request', () => {
  const broken: readonly (readonly [title: string, item: () => object, status: number, code: string])[] = [
    ['not found', () => ({ img_uri: `${images.url}/missing.png` }), 424, 'IMAGE_FETCH_FAILED'],
    ['a web page', () => ({ img_uri: `${images.url}/page.html` }), 400, 'IMAGE_UNSUPPORTED'],
    ['an address of another kind', () => ({ img_uri: 'ftp://127.0.0.1/x.png' }), 400, 'IMAGE_SOURCE_INVALID'],
    ['no base64', () => ({ img_blob: '%%%' }), 400, 'IMAGE_SOURCE_INVALID'],
    ['base64 of something else', () => ({ img_blob: 'bm8gcGljdHVyZQ==' }), 400, 'IMAGE_UNSUPPORTED'],
    ['a cut picture', () => ({ img_blob: base64('small').slice(0, 1000) }), 400, 'IMAGE_CORRUPT'],
  ];

  test.each(broken)('%s', async (_, item, status, code) => {
    for (const items of [[item()], [dog, item()], [chelsea(), item(), dog, small()]]) {
      expectError(await post('/encode', items), status, code);
      expectError(await post('/rank', { queries: items, candidates: [dog] }), status, code);
      expectError(await post('/rank', { queries: [dog, small()], candidates: items }), status, code);
    }
  });

  test('but not the next request', async () => {
    expectError(await post('/encode', [small(), { img_blob: '%%%' }]), 400, 'IMAGE_SOURCE_INVALID');
    expect(await encode([small()])).toHaveLength(1);
  });
});

describe('tokens and readiness', () => {
  const paths = ['/encode', '/rank'] as const;
  const bodyOf = (path: (typeof paths)[number]) => (path === '/encode' ? [dog] : { queries: [dog], candidates: [cat] });

  test.each(paths)('%s is not found in a service without CLIP', async (path) => {
    const captioning = await serverForTest();
    expectError(await post(path, bodyOf(path), {}, captioning.url), 404, 'NOT_FOUND');
  });

  test.each(paths)('%s needs one of the tokens', async (path) => {
    const guarded = await serverForTest({ ...clip, apiTokens: ['first-token', 'second-token'] });
    for (const headers of [{}, { authorization: 'Bearer other' }, { authorization: 'first-token' }] as const) {
      const answer = await post(path, bodyOf(path), { ...headers }, guarded.url);
      expectError(answer, 401, 'UNAUTHORIZED');
      expect(answer.headers['www-authenticate']).toBe('Bearer');
    }
    readJson(await post(path, bodyOf(path), { authorization: 'Bearer second-token' }, guarded.url));
  });

  test.each(paths)('%s is not ready before the model is loaded, and does not say so without a token', async (path) => {
    const starting = await serverForTest({ ...clip, apiTokens: ['first-token'] }, { initialize: false });
    const headers = { authorization: 'Bearer first-token' };
    const answer = await post(path, bodyOf(path), headers, starting.url);
    expectError(answer, 503, 'NOT_READY');
    expect(answer.headers['retry-after']).toBe('1');
    expectError(await post(path, bodyOf(path), {}, starting.url), 401, 'UNAUTHORIZED');
    await starting.model.initialize();
    readJson(await post(path, bodyOf(path), headers, starting.url));
  });

  test('the CLIP model among several models answers when it is loaded', async () => {
    const settings = serverTestSettings({ modelName: 'captions' });
    const captions = new Handler(modelSettingsOf(settings));
    const pictures = new Handler(testSettings({ ...clip, modelName: 'pictures' }));
    const both = createServer([captions, pictures], settings);
    const url = await both.listen({ host: '127.0.0.1', port: 0 });
    await captions.initialize();
    expectError(await post('/encode', [dog], {}, url), 503, 'NOT_READY');
    await pictures.initialize();
    expect(readJson(await post('/encode', [dog], {}, url))).toEqual(await encode([dog]));
    await both.close();
    await Promise.all([captions.finalize(), pictures.finalize()]);
  });
});

describe('queries and candidates of the Open Inference Protocol', () => {
  const texts = ['picture of a dog', 'x'];
  /** Numbers 0 to 2 are images, 3 and 4 are texts. */
  const inputs = () => [
    bytes('img_url', [`${images.url}/chelsea.png`, `${images.url}/rocket.jpg`, dataUri('small')]),
    bytes('text', texts),
  ];
  /** The items with a bad image in the first place. */
  const failing = () => [
    bytes('img_url', [`${images.url}/missing.png`, `${images.url}/rocket.jpg`, dataUri('small')]),
    bytes('text', texts),
  ];

  test('are every image and every text by default', async () => {
    const usual = await infer(inputs());
    const named = await infer([...inputs(), int64s('queries', [0, 1, 2]), int64s('candidates', [3, 4])]);
    expect(matrixOf(usual, 'cosine_similarity').map(({ length }) => length)).toEqual([2, 2, 2]);
    expect(named.outputs).toEqual(usual.outputs);
  });

  test('name items by their numbers, images first, in any order and more than once', async () => {
    const [queries, candidates] = [
      [4, 0, 4],
      [3, 2, 1, 0],
    ];
    const answer = await infer([...inputs(), int64s('queries', queries), int64s('candidates', candidates)]);
    const all = [0, 1, 2, 3, 4];
    const everything = await infer([...inputs(), int64s('queries', all), int64s('candidates', all)]);
    const cosines = matrixOf(everything, 'cosine_similarity');
    const expected = queries.map((query) => candidates.map((candidate) => cosines[query]?.[candidate] ?? Number.NaN));
    expectMatrix(matrixOf(answer, 'cosine_similarity'), expected);
    for (const row of matrixOf(answer, 'probability')) expect(Math.abs(sumOf(row) - 1)).toBeLessThan(SUM_TOLERANCE);
  });

  test('may be left out, each of them', async () => {
    const usual = await infer(inputs());
    const query = await infer([...inputs(), int64s('queries', [1])]);
    expectMatrix(matrixOf(query, 'cosine_similarity'), matrixOf(usual, 'cosine_similarity').slice(1, 2));
    const candidate = await infer([...inputs(), int64s('candidates', [0])]);
    expect(outputOf(candidate, 'cosine_similarity').shape).toEqual([3, 1]);
    expect(outputOf(candidate, 'probability').data).toEqual([1, 1, 1]);
  });

  test('may be texts alone, or images alone', async () => {
    const words = await infer([bytes('text', texts), int64s('queries', [0]), int64s('candidates', [0, 1])]);
    expect(outputOf(words, 'cosine_similarity')).toMatchObject({
      shape: [1, 2],
      data: [expect.closeTo(1, 5), expect.any(Number)],
    });
    expect(words.outputs.map(({ name }) => name)).toEqual(['text_embeds', 'probability', 'cosine_similarity']);
  });

  test.each([
    ['queries', 5],
    ['queries', 2_147_483_647],
    ['queries', -1],
    ['candidates', 5],
    ['candidates', -1],
  ])('%s is refused with the number %d, which no item has', async (name, number) => {
    const body = { inputs: [...inputs(), int64s(name, [0, number])] };
    const { error } = expectError(await postInference(server.url, body, { path: CLIP_PATH }), 400, 'INVALID_INPUT');
    expect(error).toContain(name);
    expect(error).toContain(String(number));
  });

  test.each([
    ['a fraction', { datatype: 'INT64', data: [0.5] }],
    ['text', { datatype: 'BYTES', data: ['0'] }],
    ['an empty list', { datatype: 'INT64', data: [] }],
  ])('%s is refused as the number of an item', async (_, tensor) => {
    const body = { inputs: [...inputs(), { name: 'queries', shape: [tensor.data.length], ...tensor }] };
    expectError(await postInference(server.url, body, { path: CLIP_PATH }), 400, 'INVALID_INPUT');
  });

  test('a query that fails has zeros and an error; the others keep their values', async () => {
    const selection = [int64s('queries', [0, 2, 4]), int64s('candidates', [1, 3])];
    const [whole, part] = [await infer([...inputs(), ...selection]), await infer([...failing(), ...selection])];
    for (const name of ['cosine_similarity', 'probability']) {
      const [, ...others] = matrixOf(whole, name);
      expectMatrix(matrixOf(part, name), [[0, 0], ...others]);
    }
    expect(outputOf(part, 'error')).toMatchObject({
      shape: [3],
      data: [expect.stringMatching(/^IMAGE_FETCH_FAILED: /), '', ''],
    });
    expect(outputOf(part, 'error').data).toHaveLength(3);
    const [failed, ...embeds] = matrixOf(part, 'image_embeds');
    expect(new Set(failed)).toEqual(new Set([0]));
    expectMatrix(embeds, matrixOf(whole, 'image_embeds').slice(1));
    expectMatrix(matrixOf(part, 'text_embeds'), matrixOf(whole, 'text_embeds'));
  });

  test('a candidate that fails has zeros; the probabilities of the others still sum to 1', async () => {
    const selection = [int64s('queries', [3, 2]), int64s('candidates', [1, 0, 4, 0])];
    const [whole, part] = [await infer([...inputs(), ...selection]), await infer([...failing(), ...selection])];
    const cosines = matrixOf(whole, 'cosine_similarity').map(([first = 0, , third = 0]) => [first, 0, third, 0]);
    expectMatrix(matrixOf(part, 'cosine_similarity'), cosines);
    for (const row of matrixOf(part, 'probability')) {
      expect([row[1], row[3]]).toEqual([0, 0]);
      expect(Math.abs(sumOf(row) - 1)).toBeLessThan(SUM_TOLERANCE);
    }
  });

  test('all values are zeros where one side fails whole', async () => {
    for (const selection of [
      [int64s('queries', [0]), int64s('candidates', [3, 4])],
      [int64s('queries', [3, 4]), int64s('candidates', [0])],
    ]) {
      const answer = await infer([...failing(), ...selection]);
      expect(outputOf(answer, 'cosine_similarity').data).toEqual([0, 0]);
      expect(outputOf(answer, 'probability').data).toEqual([0, 0]);
      expect(outputOf(answer, 'error').data[0]).toMatch(/^IMAGE_FETCH_FAILED: /);
    }
  });

  test('a bad image that is not compared changes no comparison', async () => {
    const selection = [int64s('queries', [1]), int64s('candidates', [2, 4])];
    const [whole, part] = [await infer([...inputs(), ...selection]), await infer([...failing(), ...selection])];
    for (const name of ['cosine_similarity', 'probability']) expectMatrix(matrixOf(part, name), matrixOf(whole, name));
  });

  test('the request fails where every image fails and there is no text', async () => {
    const body = { inputs: [bytes('img_url', [`${images.url}/missing.png`, `${images.url}/page.html`])] };
    expectError(await postInference(server.url, body, { path: CLIP_PATH }), 424, 'IMAGE_FETCH_FAILED');
  });
});
