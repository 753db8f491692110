import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { checkpointFolder, imagePath } from '../../support/goldens.ts';
import { expectStatus, type InferAnswer, rawBytes, tensorsOf, typedBytes } from '../../support/grpc.ts';
import { bytes, dataUri, outputOf, postInference, readAnswer } from '../../support/server.ts';
import { withDoors, withImageServer } from '../../support/with-server.ts';

/** The answers must equal those of HTTP, which other tests compare with transformers'. */

const images = withImageServer();
const doors = withDoors();
const clip = withDoors({ checkpoint: checkpointFolder('clip-real-end') });

const chelsea = dataUri('chelsea');
const rocket = dataUri('rocket');
const chelseaFile = readFileSync(imagePath('chelsea'));
const rocketFile = readFileSync(imagePath('rocket'));

const ask = (request: object) => doors.client.call<InferAnswer>('ModelInfer', { model_name: 'captioning', ...request });
const overHttp = async (body: object) => readAnswer(await postInference(doors.url, body)).outputs;
const askRaw = (inputs: Readonly<Record<string, readonly (string | Uint8Array)[]>>, request: object = {}) =>
  ask({
    inputs: Object.entries(inputs).map(([name, values]) => ({ name, datatype: 'BYTES', shape: [values.length] })),
    raw_input_contents: Object.values(inputs).map(rawBytes),
    ...request,
  });

describe('an image and a prompt', () => {
  const prompt = 'a photo of';
  const expected = () => overHttp({ inputs: [bytes('img_url', [chelsea]), bytes('text', [prompt])] });

  test('come in typed fields: as a data: URI, and as the bytes of a file', async () => {
    for (const image of [chelsea, chelseaFile]) {
      const answer = await ask({ inputs: [typedBytes('img_url', [image]), typedBytes('text', [prompt])] });
      expect(tensorsOf(answer)).toEqual(await expected());
    }
  });

  test('come as raw bytes: of a data: URI, and of a file', async () => {
    for (const image of [chelsea, chelseaFile])
      expect(tensorsOf(await askRaw({ img_url: [image], text: [prompt] }))).toEqual(await expected());
  });

  test('get an answer with the model, its version and the id, which may be absent', async () => {
    const request = { inputs: [typedBytes('img_url', [chelsea])] };
    const parameters = { precision: expect.objectContaining({ string_param: 'float32' }) };
    const named = { model_name: 'captioning', model_version: '1', parameters };
    expect(await ask({ ...request, id: 'seven', model_version: '1' })).toMatchObject({ ...named, id: 'seven' });
    expect(await ask(request)).toMatchObject({ ...named, id: '' });
  });
});

test('several images and prompts', async () => {
  const [urls, texts] = [
    [chelsea, rocket],
    ['a cat', 'a rocket in'],
  ];
  const expected = await overHttp({ inputs: [bytes('img_url', urls), bytes('text', texts)] });
  expect(expected[0]?.shape).toEqual([2]);
  const typed = await ask({ inputs: [typedBytes('img_url', urls), typedBytes('text', texts)] });
  expect(tensorsOf(typed)).toEqual(expected);
  expect(tensorsOf(await askRaw({ img_url: [chelseaFile, rocketFile], text: texts }))).toEqual(expected);
});

test('a tensor of several dimensions is read in row-major order, as over HTTP', async () => {
  const answer = await ask({ inputs: [{ ...typedBytes('img_url', [chelsea, rocket]), shape: [2, 1] }] });
  expect(tensorsOf(answer)).toEqual(await overHttp({ inputs: [bytes('img_url', [chelsea, rocket])] }));
});

test('an image that fails has its own error; the others have their results', async () => {
  const blocked = 'http://10.0.0.1/a.png';
  const answer = tensorsOf(await askRaw({ img_url: [chelseaFile, blocked, Buffer.from([0, 1, 2, 3])] }));
  expect(answer).toEqual(await overHttp({ inputs: [bytes('img_url', [chelsea, blocked, 'AAECAw=='])] }));
  const errors = answer.find(({ name }) => name === 'error');
  expect(errors?.data).toEqual([
    '',
    expect.stringMatching(/^IMAGE_SOURCE_BLOCKED: /),
    expect.stringMatching(/^IMAGE_UNSUPPORTED: /),
  ]);
});

describe('parameters', () => {
  const http = { num_beams: 3, num_return_sequences: 2, length_penalty: 0.5, early_stopping: true, preset: 'hf' };
  const typed = {
    num_beams: { int64_param: 3 },
    num_return_sequences: { uint64_param: 2 },
    length_penalty: { double_param: 0.5 },
    early_stopping: { bool_param: true },
    preset: { string_param: 'hf' },
  };

  test('of every type mean the same as over HTTP, beside one without effect and one without a value', async () => {
    const expected = await overHttp({ inputs: [bytes('img_url', [chelsea])], parameters: http });
    const parameters = { ...typed, priority: { int64_param: 1 }, seed: {} };
    expect(tensorsOf(await ask({ inputs: [typedBytes('img_url', [chelsea])], parameters }))).toEqual(expected);
    expect(expected[0]?.data).toHaveLength(2);
  });

  test('may come as inputs: typed in their fields, or raw', async () => {
    const expected = await overHttp({ inputs: [bytes('img_url', [chelsea])], parameters: http });
    const beams = { name: 'num_beams', datatype: 'INT32', shape: [1], contents: { int_contents: [3] } };
    const rows = { name: 'num_return_sequences', datatype: 'INT64', shape: [1], contents: { int64_contents: [2] } };
    const penalty = { name: 'length_penalty', datatype: 'FP32', shape: [1], contents: { fp32_contents: [0.5] } };
    const stop = { name: 'early_stopping', datatype: 'BOOL', shape: [1], contents: { bool_contents: [true] } };
    const image = typedBytes('img_url', [chelsea]);
    expect(tensorsOf(await ask({ inputs: [image, beams, rows, penalty, stop] }))).toEqual(expected);
    const raw = [rawBytes([chelsea]), [3, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0x3f], [1]].map((content) =>
      Buffer.from(content),
    );
    const inputs = [image, beams, rows, penalty, stop].map((tensor) => ({ ...tensor, contents: null }));
    expect(tensorsOf(await ask({ inputs, raw_input_contents: raw }))).toEqual(expected);
  });

  test.each([
    [{ num_beams: { int64_param: 0 } }, 'INVALID_INPUT', /num_beams/],
    [{ num_beams: { string_param: 'three' } }, 'INVALID_INPUT', /num_beams/],
    [{ num_beam: { int64_param: 2 } }, 'INVALID_INPUT', /got "num_beam": did you mean num_beams\?$/],
    [
      { question: { string_param: 'x' } },
      'INVALID_INPUT',
      /which models for question-answering or image-text-to-text take/,
    ],
    [{ num_return_sequences: { int64_param: 3 } }, 'INVALID_PARAMETER', /num_return_sequences/],
  ])('with invalid values are refused: %j', async (parameters, code, words) => {
    const failed = ask({ inputs: [typedBytes('img_url', [chelsea])], parameters });
    expect(await expectStatus(failed, 'INVALID_ARGUMENT', code)).toMatch(words);
  });
});

describe('outputs', () => {
  test('come in the order in which they are requested, with their numbers', async () => {
    const outputs = ['sequence_logprob', 'token_ids', 'generated_output', 'token_logprobs'].map((name) => ({ name }));
    const answer = tensorsOf(await ask({ inputs: [typedBytes('img_url', [chelsea])], outputs }));
    expect(answer.map(({ name }) => name)).toEqual(outputs.map(({ name }) => name));
    expect(answer).toEqual(await overHttp({ inputs: [bytes('img_url', [chelsea])], outputs }));
  });

  test('are refused where they are unknown or repeated', async () => {
    const inputs = [typedBytes('img_url', [chelsea])];
    for (const names of [['caption'], ['error', 'error']]) {
      const failed = ask({ inputs, outputs: names.map((name) => ({ name })) });
      await expectStatus(failed, 'INVALID_ARGUMENT', 'INVALID_REQUEST');
    }
  });
});

test('CLIP: matrices of images and texts', async () => {
  const texts = ['a cat', 'a rocket'];
  const body = { inputs: [bytes('img_url', [chelsea, rocket]), bytes('text', texts)] };
  const expected = readAnswer(await postInference(clip.url, body, { path: '/v2/models/clip/infer' }));
  const inputs = [typedBytes('img_url', [chelseaFile, rocketFile]), typedBytes('text', texts)];
  const answer = await clip.client.call<InferAnswer>('ModelInfer', { model_name: 'clip', inputs });
  expect(tensorsOf(answer)).toEqual(expected.outputs);
  expect(outputOf(expected, 'cosine_similarity').shape).toEqual([2, 2]);
});

describe('requests that are refused', () => {
  const image = typedBytes('img_url', [chelsea]);
  const untyped = { name: 'img_url', datatype: 'BYTES', shape: [1] };

  test.each<[string, object, string, RegExp]>([
    ['no inputs', { inputs: [] }, 'INVALID_REQUEST', /inputs/],
    ['an input twice', { inputs: [image, image] }, 'INVALID_REQUEST', /img_url/],
    ['an unknown input', { inputs: [typedBytes('image', ['x'])] }, 'INVALID_INPUT', /"image"/],
    [
      'another datatype',
      { inputs: [{ ...untyped, datatype: 'FP32', contents: { fp32_contents: [1] } }] },
      'INVALID_INPUT',
      /BYTES/,
    ],
    ['an unknown datatype', { inputs: [{ ...untyped, datatype: 'TEXT' }] }, 'INVALID_INPUT', /BYTES/],
    ['a negative dimension', { inputs: [{ ...image, shape: [-1] }] }, 'INVALID_REQUEST', /shape/],
    ['a dimension beyond counting', { inputs: [{ ...image, shape: [2 ** 60] }] }, 'INVALID_REQUEST', /shape/],
    ['a shape of more values', { inputs: [{ ...image, shape: [2] }] }, 'INVALID_INPUT', /2 values, got 1/],
    ['no contents', { inputs: [untyped] }, 'INVALID_INPUT', /1 values, got 0/],
    [
      'contents of another field',
      { inputs: [{ ...untyped, contents: { fp32_contents: [1] } }] },
      'INVALID_INPUT',
      /img_url of datatype BYTES to have bytes_contents, got fp32_contents/,
    ],
    [
      'contents of a datatype that has none',
      { inputs: [{ name: 'length_penalty', datatype: 'FP16', shape: [1], contents: { fp32_contents: [1] } }] },
      'INVALID_INPUT',
      /raw_input_contents, got fp32_contents/,
    ],
    [
      'raw and typed contents',
      { inputs: [image], raw_input_contents: [rawBytes([chelsea])] },
      'INVALID_REQUEST',
      /raw_input_contents or contents, got both for input img_url/,
    ],
    [
      'fewer raw contents than inputs',
      { inputs: [untyped, { ...untyped, name: 'text' }], raw_input_contents: [rawBytes([chelsea])] },
      'INVALID_REQUEST',
      /each of 2 inputs, got 1/,
    ],
    [
      'more raw contents than inputs',
      { inputs: [untyped], raw_input_contents: [rawBytes([chelsea]), Buffer.alloc(0)] },
      'INVALID_REQUEST',
      /each of 1 inputs, got 2/,
    ],
    [
      'raw elements that are cut short',
      { inputs: [untyped], raw_input_contents: [rawBytes([chelsea]).subarray(0, -1)] },
      'INVALID_INPUT',
      /cut short/,
    ],
    [
      'raw values that are not whole',
      { inputs: [{ name: 'seed', datatype: 'INT64', shape: [1] }], raw_input_contents: [Buffer.alloc(7)] },
      'INVALID_INPUT',
      /seed/,
    ],
    ['no image', { inputs: [typedBytes('text', ['a cat'])] }, 'INVALID_INPUT', /img_url/],
    ['text that is not', { inputs: [image, typedBytes('text', [Buffer.from([0, 255])])] }, 'INVALID_INPUT', /text/],
    [
      'text that is not UTF-8',
      { inputs: [image, typedBytes('text', [Buffer.from('caf\xe9', 'latin1')])] },
      'INVALID_INPUT',
      /got 4 bytes that are no text in UTF-8/,
    ],
    [
      'raw text that is not UTF-8',
      {
        inputs: [image, { name: 'text', datatype: 'BYTES', shape: [1] }].map((each) => ({ ...each, contents: null })),
        raw_input_contents: [rawBytes([chelsea]), rawBytes([Buffer.from('caf\xe9', 'latin1')])],
      },
      'INVALID_INPUT',
      /got 4 bytes that are no text in UTF-8/,
    ],
    [
      'a parameter of a tensor that nobody reads',
      { inputs: [{ ...image, parameters: { shared_memory_region: { string_param: 'x' } } }] },
      'INVALID_REQUEST',
      /got "shared_memory_region"/,
    ],
    [
      'a parameter of an output that nobody reads',
      { inputs: [image], outputs: [{ name: 'generated_output', parameters: { classification: { int64_param: 2 } } }] },
      'INVALID_REQUEST',
      /got "classification"/,
    ],
    ['an image that is none', { inputs: [typedBytes('img_url', [Buffer.from([0, 1, 2])])] }, 'IMAGE_UNSUPPORTED', /./],
    ['an image cut short', { inputs: [typedBytes('img_url', [chelseaFile.subarray(0, 5000)])] }, 'IMAGE_CORRUPT', /./],
    ['text that is no image', { inputs: [typedBytes('img_url', ['####'])] }, 'IMAGE_SOURCE_INVALID', /./],
    ['a blocked address', { inputs: [typedBytes('img_url', ['http://10.0.0.1/'])] }, 'IMAGE_SOURCE_BLOCKED', /./],
    ['a prompt too long', { inputs: [image, typedBytes('text', ['dog '.repeat(9999)])] }, 'PROMPT_TOO_LONG', /./],
  ])('%s', async (_what, request, code, words) => {
    expect(await expectStatus(ask(request), 'INVALID_ARGUMENT', code)).toMatch(words);
  });

  test('an image that cannot be fetched', async () => {
    const failed = ask({ inputs: [typedBytes('img_url', [`${images.url}/missing.png`])] });
    await expectStatus(failed, 'FAILED_PRECONDITION', 'IMAGE_FETCH_FAILED');
  });

  test('bytes that are not a message', async () => {
    const failed = doors.client.callRaw('ModelInfer', Buffer.from([0xff, 0xff, 0xff]));
    const message = await expectStatus(failed, 'INVALID_ARGUMENT', 'INVALID_REQUEST');
    expect(message).toContain('inference.ModelInferRequest');
  });

  test('very long names, which the message shortens', async () => {
    const long = 'x'.repeat(200_000);
    const numbers = { fp32_contents: [1] };
    for (const request of [
      { inputs: [{ ...untyped, name: long, contents: numbers }] },
      { inputs: [{ ...untyped, datatype: long, contents: numbers }] },
      { inputs: [typedBytes(long, ['x'])], raw_input_contents: [rawBytes(['x'])] },
      { inputs: [image], parameters: { [long]: { int64_param: 1 } } },
      { inputs: [image], parameters: { [`${'x'.repeat(99)}\u{1f408}`]: { int64_param: 1 } } },
    ]) {
      const failed = ask(request).catch((error) => error);
      expect(await failed).toMatchObject({ code: 3, details: expect.stringMatching(/^.{50,400}$/) });
    }
    const failed = doors.client.call('ModelInfer', { model_name: long, inputs: [image] });
    expect(await expectStatus(failed, 'NOT_FOUND', 'NOT_FOUND')).toContain(`'${'x'.repeat(100)}…'`);
  });

  test('more inputs than a model has', async () => {
    const failed = doors.client.callRaw('ModelInfer', Buffer.from('2a00'.repeat(100_000), 'hex'));
    await expectStatus(failed, 'INVALID_ARGUMENT', 'INVALID_REQUEST');
  });

  test('do not harm the service, which answers afterwards', async () => {
    expect(tensorsOf(await ask({ inputs: [image] }))).toHaveLength(1);
  });
});
