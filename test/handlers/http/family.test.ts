import { describe, expect, test } from 'vitest';
import { readServerSettings } from '../../../handlers/service/server-settings.ts';
import { schemas } from '../../../input_schema.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import {
  bytes,
  dataUri,
  expectError,
  type HttpAnswer,
  type InferenceAnswer,
  outputOf,
  postInference,
  readAnswer,
  send,
  startServerOfModels,
} from '../../support/server.ts';
import { imageServerForTest, withImageServer, withServerOfModels } from '../../support/with-server.ts';

/** One service of several models: one of each task. */

const modelNames = ['captions', 'answers', 'matches', 'clip-b.32'] as const;
type ModelName = (typeof modelNames)[number];

const taskOf = {
  captions: 'captioning',
  answers: 'question-answering',
  matches: 'retrieval',
  'clip-b.32': 'clip',
} as const;

const checkpointOf = {
  captions: 'narrow-vision',
  answers: 'answers-float32',
  matches: 'retrieval-wide-vision',
  'clip-b.32': 'clip-placeholder-end',
} as const;

/** The models as an environment variable names them. */
const { models } = readServerSettings({
  BLIP_MODELS: modelNames.map((name) => `${name}=${checkpointFolder(checkpointOf[name])}`).join(','),
});

const server = withServerOfModels({ models, maxQueueSize: 4 });
const images = withImageServer();

const chelsea = dataUri('chelsea');
const rocket = dataUri('rocket');
const get = (path: string, url = server.url) => send(url, { path });
const post = (name: string, body: object, url = server.url) =>
  postInference(url, body, { path: `/v2/models/${name}/infer` });
const infer = async (name: ModelName, body: object) => readAnswer(await post(name, body));

/** A small request for the model of that name. */
const requestOf: Readonly<Record<ModelName, { readonly inputs: readonly object[] }>> = {
  captions: { inputs: [bytes('img_url', [chelsea]), bytes('text', ['a picture of'])] },
  answers: { inputs: [bytes('img_url', [chelsea]), bytes('question', ['is the cat black?'])] },
  matches: { inputs: [bytes('img_url', [chelsea, rocket]), bytes('text', ['a cat', 'a rocket'])] },
  'clip-b.32': { inputs: [bytes('img_url', [chelsea, rocket]), bytes('text', ['a cat', 'a rocket'])] },
};

function expectJson(answer: HttpAnswer, status: number, body: unknown): void {
  expect(answer.status, answer.text).toBe(status);
  expect(answer.headers['content-type']).toBe('application/json');
  expect(JSON.parse(answer.text)).toEqual(body);
}

const namesAndShapes = ({ outputs }: InferenceAnswer) => outputs.map(({ name, shape }) => [name, shape]);

describe('the metadata of the service', () => {
  test('lists all models, and has the name of the first one', async () => {
    expectJson(await get('/v2/models'), 200, { models: modelNames });
    expectJson(await get('/v2'), 200, {
      name: 'captions',
      version: expect.stringMatching(/^\d/),
      extensions: expect.any(Array),
    });
  });

  test.each(modelNames)('has the inputs and outputs of %s', async (name) => {
    const { inputs, outputs } = schemas[taskOf[name]];
    for (const path of [`/v2/models/${name}`, `/v2/models/${name}/versions/1`]) {
      expectJson(await get(path), 200, {
        name,
        versions: ['1'],
        platform: 'onnx_onnxv1',
        parameters: { precision: 'float32' },
        inputs: Object.entries(inputs).map(([input, { datatype, shape }]) => ({
          name: input,
          datatype: datatype === 'STRING' ? 'BYTES' : datatype,
          shape,
        })),
        outputs: Object.entries(outputs).map(([output, { datatype, shape }]) => ({ name: output, datatype, shape })),
      });
    }
  });

  test('differs between tasks', () => {
    const signatures = Object.values(schemas).map(({ inputs, outputs }) =>
      JSON.stringify([Object.keys(inputs), Object.keys(outputs)]),
    );
    expect(new Set(signatures).size).toBe(signatures.length);
  });

  test.each(modelNames)('reports %s as ready', async (name) => {
    expectJson(await get(`/v2/models/${name}/ready`), 200, { name, ready: true });
  });
});

describe('each model answers requests of its task', () => {
  test('a caption', async () => {
    const answer = await infer('captions', requestOf.captions);
    expect(answer.model_name).toBe('captions');
    expect(namesAndShapes(answer)).toEqual([['generated_output', [1]]]);
    expect(outputOf(answer, 'generated_output').data).toEqual([expect.stringMatching(/^a picture of/)]);
  });

  test('an answer', async () => {
    const answer = await infer('answers', requestOf.answers);
    expect(answer.model_name).toBe('answers');
    expect(namesAndShapes(answer)).toEqual([['answer', [1]]]);
    expect(outputOf(answer, 'answer').data).toEqual(['playing playing']); // The golden of this checkpoint.
  });

  test('matches of pictures and texts', async () => {
    const answer = await infer('matches', { ...requestOf.matches, parameters: { rerank_top_k: 1 } });
    expect(answer.model_name).toBe('matches');
    expect(namesAndShapes(answer)).toEqual([
      ['match_probability', [2, 2]],
      ['cosine_similarity', [2, 2]],
    ]);
    expect(outputOf(answer, 'match_probability').data.filter((value) => value === -1)).toHaveLength(2);
  });

  test('embeddings and a ranking', async () => {
    const answer = await infer('clip-b.32', requestOf['clip-b.32']);
    expect(answer.model_name).toBe('clip-b.32');
    expect(namesAndShapes(answer)).toEqual([
      ['image_embeds', [2, 24]],
      ['text_embeds', [2, 24]],
      ['probability', [2, 2]],
      ['cosine_similarity', [2, 2]],
    ]);
    const alone = await infer('clip-b.32', {
      inputs: [bytes('text', ['a cat'])],
      parameters: { normalize: true },
      outputs: [{ name: 'text_embeds' }],
    });
    expect(Math.hypot(...outputOf(alone, 'text_embeds').data.map(Number))).toBeCloseTo(1, 5);
  });

  test('all at the same time, with the answers that they have alone', async () => {
    const oneByOne: InferenceAnswer[] = [];
    for (const name of modelNames) oneByOne.push(await infer(name, requestOf[name]));
    expect(await Promise.all(modelNames.map((name) => infer(name, requestOf[name])))).toEqual(oneByOne);
  });

  test.each(modelNames)('%s, with an error for each bad picture', async (name) => {
    const missing = `${images.url}/missing.png`;
    const inputs = requestOf[name].inputs.slice(1);
    const answer = await infer(name, { inputs: [bytes('img_url', [missing, chelsea]), ...inputs] });
    expect(outputOf(answer, 'error').data).toEqual([expect.stringMatching(/^IMAGE_FETCH_FAILED: .*404/), '']);
  });
});

describe('a request is refused', () => {
  test('for an unknown model, with the names of all models', async () => {
    for (const name of ['captioning', 'clip', 'answers2', 'ANSWERS']) {
      for (const answer of [await get(`/v2/models/${name}`), await post(name, requestOf.captions)]) {
        const { error } = expectError(answer, 404, 'NOT_FOUND');
        expect(error).toContain(`'${name}' is not found`);
        expect(error).toContain(modelNames.join(', '));
      }
    }
  });

  test.each([
    ['captions', 'question', bytes('question', ['is it?'])],
    ['captions', 'normalize', { name: 'normalize', shape: [1], datatype: 'BOOL', data: [true] }],
    ['answers', 'text', bytes('text', ['a picture of'])],
    ['answers', 'rerank_top_k', { name: 'rerank_top_k', shape: [1], datatype: 'INT64', data: [1] }],
    ['matches', 'question', bytes('question', ['is it?'])],
    ['matches', 'num_beams', { name: 'num_beams', shape: [1], datatype: 'INT64', data: [3] }],
    ['clip-b.32', 'question', bytes('question', ['is it?'])],
    ['clip-b.32', 'max_new_tokens', { name: 'max_new_tokens', shape: [1], datatype: 'INT64', data: [3] }],
  ] as const)('by %s with the input %s of another task', async (name, input, tensor) => {
    const answer = await post(name, { inputs: [bytes('img_url', [chelsea]), tensor] });
    const { error } = expectError(answer, 400, 'INVALID_INPUT');
    expect(error).toContain(`got "${input}"`);
    for (const known of Object.keys(schemas[taskOf[name]].inputs)) expect(error).toContain(known);
  });

  test.each([
    ['answers', 'question'],
    ['matches', 'text'],
  ] as const)('by %s without %s', async (name, input) => {
    const answer = await post(name, { inputs: [bytes('img_url', [chelsea])] });
    expect(expectError(answer, 400, 'INVALID_INPUT').error).toBe(`Expected the request to have ${input}, got none.`);
  });

  test.each(['captions', 'answers', 'matches'] as const)('by %s without a picture', async (name) => {
    const answer = await post(name, { inputs: requestOf[name].inputs.slice(1) });
    expect(expectError(answer, 400, 'INVALID_INPUT').error).toBe('Expected the request to have img_url, got none.');
  });

  test.each([
    ['captions', 'answer'],
    ['answers', 'generated_output'],
    ['matches', 'token_ids'],
    ['clip-b.32', 'match_probability'],
  ] as const)('by %s for the output %s of another task', async (name, output) => {
    const answer = await post(name, { ...requestOf[name], outputs: [{ name: output }] });
    expect(expectError(answer, 400, 'INVALID_REQUEST').error).toContain(`got "${output}"`);
  });

  test.each([
    ['matches', { rerank_top_k: -1 }, 'rerank_top_k'],
    ['matches', { rerank_top_k: 1.5 }, 'rerank_top_k'],
    ['clip-b.32', { normalize: 'yes' }, 'normalize'],
    ['answers', { num_beams: 0 }, 'num_beams'],
  ] as const)('by %s with the parameter %j', async (name, parameters, input) => {
    const answer = await post(name, { ...requestOf[name], parameters });
    expect(expectError(answer, 400, 'INVALID_INPUT').error).toContain(input);
  });

  test.each([
    [
      'matches',
      { num_beams: 3 },
      'got "num_beams", which models for captioning or question-answering or image-text-to-text take.',
    ],
    ['matches', { normalize: true }, 'got "normalize", which models for clip take.'],
    [
      'captions',
      { question: 'is it?' },
      'got "question", which models for question-answering or image-text-to-text take.',
    ],
    ['answers', { text: 'is it?' }, 'got "text": did you mean question?'],
    ['answers', { num_beam: 3 }, 'got "num_beam": did you mean num_beams?'],
  ] as const)('by %s with the parameter %j of another task', async (name, parameters, end) => {
    const answer = await post(name, { ...requestOf[name], parameters });
    expect(expectError(answer, 400, 'INVALID_INPUT').error).toBe(
      `Expected the request to have known names only, ${end}`,
    );
  });

  test('for a text that is too long, by each task', async () => {
    const long = Array.from({ length: 60 }, () => 'dog').join(' ');
    const inputOf = { captions: 'text', answers: 'question', matches: 'text', 'clip-b.32': 'text' } as const;
    for (const name of modelNames) {
      const answer = await post(name, { inputs: [bytes('img_url', [chelsea]), bytes(inputOf[name], [long])] });
      expectError(answer, 400, 'PROMPT_TOO_LONG');
    }
  });

  test("for more items than the model's queue has room for, whatever room the others have", async () => {
    const pictures = await imageServerForTest();
    const held = (count: number) => ({
      inputs: [
        bytes(
          'img_url',
          Array.from({ length: count }, () => `${pictures.url}/held.png`),
        ),
      ],
    });
    const waiting = post('captions', held(4));
    await pictures.held(1);
    expectError(await post('captions', requestOf.captions), 429, 'OVERLOADED');
    for (const name of ['answers', 'matches', 'clip-b.32'] as const) readAnswer(await post(name, requestOf[name]));
    pictures.release();
    readAnswer(await waiting);
  });
});

describe('while some models are not loaded', () => {
  test('each is ready as soon as it is loaded, the service when all are', async () => {
    const starting = await startServerOfModels({ models });
    const [captions, ...others] = starting.models;
    expectJson(await get('/v2/models', starting.url), 200, { models: modelNames });
    expectJson(await get('/v2/models/answers/ready', starting.url), 503, { name: 'answers', ready: false });
    await captions?.initialize();
    expectJson(await get('/v2/models/captions/ready', starting.url), 200, { name: 'captions', ready: true });
    expectJson(await get('/v2/health/ready', starting.url), 503, { live: true, ready: false });
    readAnswer(await post('captions', requestOf.captions, starting.url));
    expectError(await post('answers', requestOf.answers, starting.url), 503, 'NOT_READY');
    expectError(await get('/v2/models/answers', starting.url), 503, 'NOT_READY');
    expectError(await post('other', requestOf.answers, starting.url), 404, 'NOT_FOUND');
    await Promise.all(others.map((model) => model.initialize()));
    expectJson(await get('/v2/health/ready', starting.url), 200, { live: true, ready: true });
    readAnswer(await post('answers', requestOf.answers, starting.url));
    await captions?.finalize();
    expectError(await post('captions', requestOf.captions, starting.url), 503, 'NOT_READY');
    readAnswer(await post('answers', requestOf.answers, starting.url));
    await starting.close();
  });
});

test('tokens guard every model', async () => {
  const guarded = await startServerOfModels({ models: models.slice(0, 2), apiTokens: ['a-token'] });
  await Promise.all(guarded.models.map((model) => model.initialize()));
  for (const name of ['captions', 'answers'] as const) {
    const path = `/v2/models/${name}/infer`;
    expectError(await postInference(guarded.url, requestOf[name], { path }), 401, 'UNAUTHORIZED');
    const headers = { authorization: 'Bearer a-token' };
    readAnswer(await postInference(guarded.url, requestOf[name], { path, headers }));
  }
  await guarded.close();
});
