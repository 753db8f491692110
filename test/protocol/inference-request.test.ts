import { describe, expect, test } from 'vitest';
import type { ErrorCode } from '../../protocol/errors.ts';
import { type InferenceRequest, readInferenceRequest, readSectionedRequest } from '../../protocol/inference-request.ts';
import { smallSchema } from '../support/small-schema.ts';
import { thrownBy } from '../support/thrown.ts';

/** The reader of inference requests alone. test/handlers/ asks it over each protocol. */

const image = { name: 'image', shape: [1], datatype: 'BYTES', data: ['a.png'] };
const count = (changes: object) => ({
  inputs: [{ name: 'count', shape: [1], datatype: 'INT64', data: [3], ...changes }],
});

const read = (body: unknown, binary?: Uint8Array): InferenceRequest => readInferenceRequest(body, smallSchema, binary);

/** The reader must refuse the request with this code, and a message that has all these parts. */
function expectRefusal(action: () => unknown, code: ErrorCode, parts: readonly string[]): void {
  const error = thrownBy(action);
  expect(error).toMatchObject({ name: 'HandlerError', code, message: expect.stringMatching(/^Expected /) });
  for (const part of parts) expect(String(error)).toContain(part);
}

describe('the inputs of a request', () => {
  test('are lists of values by name; the id and the outputs are absent where it has none', () => {
    const { id, inputs, outputs, parameters, isBinaryOutput } = read({ inputs: [image] });
    expect({ id, inputs, outputs, parameters }).toEqual({
      id: undefined,
      inputs: { image: ['a.png'] },
      outputs: undefined,
      parameters: {},
    });
    expect(isBinaryOutput('caption')).toBe(false);
  });

  test.each([
    ['flat', [4], ['a', 'b', 'c', 'd']],
    [
      'nested',
      [2, 2],
      [
        ['a', 'b'],
        ['c', 'd'],
      ],
    ],
    ['flat in two dimensions', [2, 2], ['a', 'b', 'c', 'd']],
    [
      'nested in one dimension',
      [4],
      [
        [['a'], ['b']],
        ['c', ['d']],
      ],
    ],
  ])('are in row-major order: %s', (_, shape, data) => {
    expect(read({ inputs: [{ ...image, shape, data }] }).inputs).toEqual({ image: ['a', 'b', 'c', 'd'] });
  });

  test('may be none', () => {
    expect(read({ inputs: [{ ...image, shape: [0], data: [] }] }).inputs).toEqual({ image: [] });
  });

  test('may have the keys without effect that clients send', () => {
    const body = { inputs: [{ ...image, optional: true, parameters: { content_type: 'str' } }], model_name: 'x' };
    expect(read(body).inputs).toEqual({ image: ['a.png'] });
    expect(read({ ...body, outputs: [{ name: 'caption', shape: [1], datatype: 'BYTES' }] }).outputs).toEqual([
      'caption',
    ]);
  });

  test.each<[object, string]>([
    [
      { inputs: [image], paramters: { count: 5 } },
      'Expected the request to have known names only, got "paramters": did you mean parameters?',
    ],
    [{ inputs: [image], more: 1 }, 'Expected the request to have known names only, got "more".'],
    [{ inputs: [{ ...image, dtype: 'BYTES' }] }, 'Expected inputs[0] to have known names only, got "dtype"'],
    [
      { inputs: [{ ...image, datas: ['b'] }] },
      'Expected inputs[0] to have known names only, got "datas": did you mean data?',
    ],
    [
      { inputs: [{ ...image, parameters: { shared_memory_region: 'x' } }] },
      'Expected inputs[0].parameters to have known names only, got "shared_memory_region".',
    ],
    [
      { inputs: [image], outputs: [{ name: 'caption', parameters: { classification: 2 } }] },
      'Expected outputs[0].parameters to have known names only, got "classification".',
    ],
  ])('may have no key that nobody reads: %j', (body, message) => {
    expectRefusal(() => read(body), 'INVALID_REQUEST', [message]);
  });

  test('may have null for each value that may be absent', () => {
    const nulls = { id: null, parameters: null, outputs: null };
    const request = read({ ...nulls, inputs: [{ ...image, parameters: null }] });
    expect(request).toMatchObject({ id: undefined, inputs: { image: ['a.png'] }, outputs: undefined, parameters: {} });
    const inner = {
      parameters: { count: null, timeout: null, binary_data_output: null },
      inputs: [{ ...image, parameters: { binary_data_size: null, content_type: null } }],
      outputs: [
        { name: 'caption', parameters: null },
        { name: 'score', parameters: { binary_data: null } },
      ],
    };
    expect(read(inner)).toMatchObject({ inputs: { image: ['a.png'] }, outputs: ['caption', 'score'], parameters: {} });
    expect(read(inner).isBinaryOutput('score')).toBe(false);
    expect(read({ ...inner, parameters: { binary_data_output: true } }).isBinaryOutput('score')).toBe(true);
  });

  test('may have null for its data where it is optional', () => {
    const count = { name: 'count', shape: [1], datatype: 'INT64', data: null };
    expect(read({ inputs: [image, count] }).inputs).toEqual({ image: ['a.png'] });
    expect(read({ inputs: [image, { ...count, data: [null] }] }).inputs).toEqual({ image: ['a.png'] });
  });

  test('may have null under a name that nobody reads', () => {
    const unread = { unread: null };
    const tensor = { ...image, ...unread, parameters: unread };
    const outputs = [{ name: 'score', ...unread, parameters: unread }];
    expect(read({ ...unread, parameters: unread, inputs: [tensor], outputs }).inputs).toEqual({ image: ['a.png'] });
  });

  test('has the usual outputs where its list of outputs is empty, as with Triton', () => {
    expect(read({ inputs: [image], outputs: [] }).outputs).toBeUndefined();
  });

  test('may have no null in a place that must have a value', () => {
    const wrong = (changes: object) => () => read({ inputs: [{ ...image, ...changes }] });
    expectRefusal(wrong({ data: null }), 'INVALID_REQUEST', ['input image', 'got neither']);
    expectRefusal(wrong({ shape: null }), 'INVALID_REQUEST', ['inputs[0].shape', 'got null']);
    expectRefusal(wrong({ name: null }), 'INVALID_REQUEST', ['inputs[0].name', 'got null']);
    expectRefusal(() => read({ inputs: null }), 'INVALID_REQUEST', ['inputs', 'got null']);
    expectRefusal(() => read({ inputs: [null] }), 'INVALID_REQUEST', ['inputs[0]', 'got null']);
  });

  test.each(['BYTES', 'STRING'])('of text may have datatype %s', (datatype) => {
    expect(read({ inputs: [{ ...image, datatype }] }).inputs).toEqual({ image: ['a.png'] });
  });

  test.each(['UINT8', 'UINT16', 'UINT32', 'UINT64', 'INT8', 'INT16', 'INT32', 'INT64'])(
    'of whole numbers and of numbers may have datatype %s',
    (datatype) => {
      const tensor = { shape: [1], datatype, data: [2] };
      const inputs = ['count', 'scale'].map((name) => ({ name, ...tensor }));
      expect(read({ inputs }).inputs).toEqual({ count: [2], scale: [2] });
    },
  );

  test.each(['FP16', 'BF16', 'FP32', 'FP64'])('of numbers may have datatype %s, whole numbers may not', (datatype) => {
    const scale = { name: 'scale', shape: [1], datatype, data: [0.5] };
    expect(read({ inputs: [scale] }).inputs).toEqual({ scale: [0.5] });
    expectRefusal(() => read(count({ datatype })), 'INVALID_INPUT', ['count', 'INT64', datatype]);
  });

  test.each([
    ['BOOL', true],
    ['BYTES', 'never'],
  ])('with a choice of values may have the datatype of any of them: %s', (datatype, value) => {
    const early = { name: 'early', shape: [1], datatype, data: [value] };
    expect(read({ inputs: [early] }).inputs).toEqual({ early: [value] });
  });
});

describe('parameters', () => {
  test('count as inputs, but for those of the protocol, and for those without effect', () => {
    const parameters = { count: 5, early: 'never', timeout: 1, priority: 2, sequence_id: 'x', headers: { a: 'b' } };
    const request = read({ inputs: [image], parameters });
    expect(request.inputs).toEqual({ count: [5], early: ['never'], image: ['a.png'] });
    expect(request.parameters).toEqual({ timeout: 1 });
  });

  test('with unknown names are left for the check of the inputs', () => {
    expect(read({ inputs: [image], parameters: { counts: 5 } }).inputs).toEqual({ counts: [5], image: ['a.png'] });
  });

  test('count less than an input of the same name', () => {
    expect(read({ ...count({}), parameters: { count: 5 } }).inputs).toEqual({ count: [3] });
  });

  test.each([
    [{}, [false, false]],
    [{ parameters: { binary_data_output: true } }, [true, true]],
    [{ outputs: [{ name: 'caption', parameters: { binary_data: true } }, { name: 'score' }] }, [true, false]],
    [
      {
        parameters: { binary_data_output: true },
        outputs: [{ name: 'caption', parameters: { binary_data: false } }, { name: 'score' }],
      },
      [false, true],
    ],
  ])('say which outputs come as bytes; those of an output come first: %j', (changes, expected) => {
    const { isBinaryOutput } = read({ inputs: [image], ...changes });
    expect(['caption', 'score'].map(isBinaryOutput)).toEqual(expected);
  });
});

test('the id and the names of outputs are read', () => {
  const { id, outputs } = read({ id: 'x', inputs: [image], outputs: [{ name: 'score' }, { name: 'caption' }] });
  expect({ id, outputs }).toEqual({ id: 'x', outputs: ['score', 'caption'] });
});

describe('a request that is no request of the protocol', () => {
  test.each<[string, unknown, readonly string[]]>([
    ['no object', 'text', ['the request']],
    ['a list', [], ['the request']],
    ['nothing', undefined, ['the request']],
    ['without inputs', {}, ['inputs']],
    ['inputs that are no list', { inputs: {} }, ['inputs']],
    ['an empty list of inputs', { inputs: [] }, ['inputs']],
    ['an id that is no text', { id: 1, inputs: [image] }, ['id']],
    ['a tensor without a name', { inputs: [{ ...image, name: undefined }] }, ['inputs[0]', 'name']],
    ['a tensor without a shape', { inputs: [{ ...image, shape: undefined }] }, ['inputs[0]', 'shape']],
    ['a tensor without a datatype', { inputs: [{ ...image, datatype: undefined }] }, ['inputs[0]', 'datatype']],
    ['a negative dimension', { inputs: [{ ...image, shape: [-1] }] }, ['inputs[0].shape[0]', '-1']],
    ['half a dimension', { inputs: [{ ...image, shape: [0.5] }] }, ['inputs[0].shape[0]', '0.5']],
    ['33 dimensions', { inputs: [{ ...image, shape: Array(33).fill(1) }] }, ['inputs[0].shape', '32']],
    ['data that is no list', { inputs: [{ ...image, data: 'a.png' }] }, ['inputs[0].data']],
    ['a parameter that is a list', { inputs: [image], parameters: { count: [1] } }, ['parameters.count']],
    ['an output without a name', { inputs: [image], outputs: [{}] }, ['outputs[0]', 'name']],
    ['an output that it does not have', { inputs: [image], outputs: [{ name: 'sound' }] }, ['caption, score', 'sound']],
    [
      'an output with the name of a property of objects',
      { inputs: [image], outputs: [{ name: 'toString' }] },
      ['caption, score', 'toString'],
    ],
    ['an output twice', { inputs: [image], outputs: [{ name: 'score' }, { name: 'score' }] }, ['output', 'score']],
    ['an input twice', { inputs: [image, image] }, ['input', 'image']],
    ['no data', { inputs: [{ ...image, data: undefined }] }, ['image', 'binary_data_size', 'neither']],
  ])('is refused: %s', (_, body, parts) => {
    expectRefusal(() => read(body), 'INVALID_REQUEST', parts);
  });
});

describe('an input that does not fit the model', () => {
  const deep = (depth: number): unknown => (depth === 0 ? 'a.png' : [deep(depth - 1)]);

  test.each<[string, object, readonly string[]]>([
    ['a name that it does not have', { inputs: [{ ...image, name: 'sound' }] }, ['image, count', 'sound']],
    ['the name of a property of objects', { inputs: [{ ...image, name: 'toString' }] }, ['image, count', 'toString']],
    ['another datatype', { inputs: [{ ...image, datatype: 'INT64' }] }, ['image', 'BYTES', 'INT64']],
    ['a datatype that is none', { inputs: [{ ...image, datatype: 'constructor' }] }, ['image', 'BYTES']],
    ['too few values', { inputs: [{ ...image, shape: [2] }] }, ['image', '[2]', '2 values', 'got 1']],
    ['too many values', { inputs: [{ ...image, data: ['a', 'b', 'c'] }] }, ['image', '[1]', '1 values', 'got more']],
    ['values where the shape has none', { inputs: [{ ...image, shape: [0] }] }, ['image', '0 values', 'got more']],
    ['several values of one', count({ shape: [2], data: [1, 2] }), ['count', 'at most 1', '[2]']],
    ['more values than are read', { inputs: [{ ...image, shape: [65_537] }] }, ['image', 'at most 65536', '65537']],
    ['data deeper than any tensor', { inputs: [{ ...image, data: [deep(100)] }] }, ['image', 'at most 100']],
  ])('is refused: %s', (_, body, parts) => {
    expectRefusal(() => read(body), 'INVALID_INPUT', parts);
  });

  test('is not refused for data as deep as a tensor may have', () => {
    expect(read({ inputs: [{ ...image, data: [deep(99)] }] }).inputs).toEqual({ image: ['a.png'] });
  });

  test('is not refused for the value itself: that is the task of the schema', () => {
    expect(read(count({ data: ['many'] })).inputs).toEqual({ count: ['many'] });
  });
});

describe('bytes behind the JSON', () => {
  const three = Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 0);
  const cat = Uint8Array.of(3, 0, 0, 0, 0x63, 0x61, 0x74);
  const binary = (name: string, datatype: string, size: number) => ({
    name,
    datatype,
    shape: [1],
    parameters: { binary_data_size: size },
  });

  test('are those of the tensors with binary_data_size, in their order', () => {
    const inputs = [
      binary('image', 'BYTES', 7),
      { name: 'sure', shape: [1], datatype: 'BOOL', data: [true] },
      binary('count', 'INT64', 8),
    ];
    expect(read({ inputs }, Buffer.concat([cat, three])).inputs).toEqual({ image: ['cat'], sure: [true], count: [3] });
  });

  test.each([
    ['fewer than they say', 7],
    ['more than they say', 9],
  ])('are refused: %s', (_, length) => {
    const body = { inputs: [binary('count', 'INT64', 8)] };
    expectRefusal(() => read(body, new Uint8Array(length)), 'INVALID_REQUEST', ['8 bytes', `got ${length}`]);
  });

  test('are refused where no tensor has any', () => {
    expectRefusal(() => read({ inputs: [image] }, three), 'INVALID_REQUEST', ['0 bytes', 'got 8']);
  });

  test('are refused beside data', () => {
    const body = { inputs: [{ ...binary('count', 'INT64', 8), data: [3] }] };
    expectRefusal(() => read(body, three), 'INVALID_REQUEST', ['count', 'both']);
  });

  test('are refused where they are not as many values as the shape has', () => {
    const body = { inputs: [{ ...binary('image', 'BYTES', 7), shape: [2] }] };
    expectRefusal(() => read(body, cat), 'INVALID_INPUT', ['image', '[2]', 'got 1']);
  });

  test('may come apart for each tensor, as gRPC has them', () => {
    const inputs = [
      { name: 'image', shape: [1], datatype: 'BYTES' },
      { ...image, name: 'early', data: ['never'] },
    ];
    const { inputs: values } = readSectionedRequest({ inputs }, [cat, undefined], smallSchema);
    expect(values).toEqual({ image: ['cat'], early: ['never'] });
  });

  test('that come apart are refused where a tensor has none and no data', () => {
    const inputs = [{ name: 'image', shape: [1], datatype: 'BYTES' }];
    expectRefusal(() => readSectionedRequest({ inputs }, [], smallSchema), 'INVALID_REQUEST', ['image', 'neither']);
  });
});
