import { describe, expect, test } from 'vitest';
import { generateResponse, readGenerateRequest } from '../../protocol/generate.ts';
import { bytesTensor, float32Tensor } from '../../protocol/named-tensor.ts';
import { thrownBy } from '../support/thrown.ts';

const read = (body: unknown) => readGenerateRequest(body);

describe('a generate request', () => {
  test.each<[string, object, object]>([
    ['a value is a list of one', { image: 'a.png' }, { inputs: { image: ['a.png'] } }],
    ['a list stays one', { image: ['a.png', 'b.png'] }, { inputs: { image: ['a.png', 'b.png'] } }],
    ['null is as absent', { image: 'a.png', count: null, more: null }, { inputs: { image: ['a.png'] } }],
    ['the id is kept', { id: 'x', image: 'a.png' }, { id: 'x', inputs: { image: ['a.png'] } }],
    [
      'parameters with the name of an input of shape [1] are inputs',
      { image: 'a.png', parameters: { count: 2, timeout: 5 } },
      { inputs: { image: ['a.png'], count: [2] }, parameters: { timeout: 5 } },
    ],
    [
      'a key counts more than a parameter of the same name',
      { image: 'a.png', count: 3, parameters: { count: 2 } },
      { inputs: { image: ['a.png'], count: [3] } },
    ],
    [
      'parameters of the protocol may be keys, which count more than those',
      { image: 'a.png', timeout: 1, parameters: { timeout: 5, binary_data_output: true } },
      { inputs: { image: ['a.png'] }, parameters: { timeout: 1, binary_data_output: true } },
    ],
    [
      'other names are left for the check of the inputs',
      { image: 'a.png', deep: { er: 1 }, parameters: { stop: 'x' } },
      { inputs: { image: ['a.png'], deep: [{ er: 1 }], stop: ['x'] } },
    ],
    [
      'names without effect are left out, in both places',
      { image: 'a.png', priority: 1, stream: false, parameters: { sequence_id: 5, headers: { accept: '*' } } },
      { inputs: { image: ['a.png'] } },
    ],
    [
      'null is as absent at every other place too',
      { id: null, image: 'a.png', parameters: null },
      { inputs: { image: ['a.png'] } },
    ],
    [
      'null is as absent in parameters',
      { image: 'a.png', parameters: { count: null, timeout: null } },
      { inputs: { image: ['a.png'] } },
    ],
    [
      'keys with the names of properties of objects are names as all others',
      { toString: 'x' },
      { inputs: { toString: ['x'] } },
    ],
  ])('%s', (_, body, expected) => {
    expect(read(body)).toEqual({ id: undefined, inputs: {}, parameters: {}, ...expected });
  });

  test.each<[string, unknown, string]>([
    ['no object', ['a.png'], 'the request'],
    ['an id that is no text', { id: 1 }, 'id'],
    ['parameters that are no object', { parameters: [] }, 'parameters'],
    ['a parameter that is a list', { parameters: { count: [1] } }, 'parameters.count'],
  ])('is refused: %s', (_, body, path) => {
    expect(thrownBy(() => read(body))).toMatchObject({
      code: 'INVALID_REQUEST',
      message: expect.stringMatching(`^Expected ${path.replace('.', '\\.')} to be `),
    });
  });
});

test('an answer has its outputs by name: one value as itself, several as a list', () => {
  const outputs = [bytesTensor('caption', [1], ['a cat']), float32Tensor('score', [2], [0.5, 0.25])];
  const parameters = { precision: 'float32' };
  expect(generateResponse({ model_name: 'm', model_version: '1', id: 'x', parameters, outputs })).toEqual({
    model_name: 'm',
    model_version: '1',
    id: 'x',
    parameters,
    caption: 'a cat',
    score: [0.5, 0.25],
  });
});
