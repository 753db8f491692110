import { describe, expect, test } from 'vitest';
import { type EncodedResponse, encodeResponse, inferenceResponse } from '../../protocol/inference-response.ts';
import { modelMetadata } from '../../protocol/metadata.ts';
import { bytesTensor, int64Tensor } from '../../protocol/named-tensor.ts';
import { smallSchema } from '../support/small-schema.ts';

const caption = bytesTensor('caption', [1], ['cat']);
const tokens = int64Tensor('tokens', [2], [1, 258]);
const captionBytes = Uint8Array.of(3, 0, 0, 0, 0x63, 0x61, 0x74);
const tokenBytes = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0);

describe('a response', () => {
  test('names the model, its version and the outputs, in the order that Triton has', () => {
    const response = inferenceResponse('blip', 'x', { outputs: [caption], precision: 'float16' });
    const parameters = { precision: 'float16' };
    expect(response).toEqual({ model_name: 'blip', model_version: '1', id: 'x', parameters, outputs: [caption] });
    expect(Object.keys(response)).toEqual(['model_name', 'model_version', 'id', 'parameters', 'outputs']);
  });

  test('has no id where the request had none', () => {
    expect(inferenceResponse('blip', undefined, { outputs: [], precision: 'float32' })).not.toHaveProperty('id');
  });
});

describe('on the wire', () => {
  const response = inferenceResponse('blip', undefined, { outputs: [caption, tokens], precision: 'float32' });

  function partsOf({ body, jsonLength = body.length }: EncodedResponse): readonly [unknown, Uint8Array] {
    const json = Buffer.from(body.subarray(0, jsonLength)).toString('utf8');
    return [JSON.parse(json), Uint8Array.from(body.subarray(jsonLength))];
  }

  test('it is JSON alone where no output is to come as bytes', () => {
    const encoded = encodeResponse(response, () => false);
    expect(encoded.jsonLength).toBeUndefined();
    expect(partsOf(encoded)).toEqual([response, new Uint8Array()]);
  });

  test.each<[readonly string[], readonly object[], Uint8Array]>([
    [
      ['tokens'],
      [caption, { name: 'tokens', datatype: 'INT64', shape: [2], parameters: { binary_data_size: 16 } }],
      tokenBytes,
    ],
    [
      ['caption', 'tokens'],
      [
        { name: 'caption', datatype: 'BYTES', shape: [1], parameters: { binary_data_size: 7 } },
        { name: 'tokens', datatype: 'INT64', shape: [2], parameters: { binary_data_size: 16 } },
      ],
      Uint8Array.from([...captionBytes, ...tokenBytes]),
    ],
  ])('the bytes of %j stand behind the JSON, which has their sizes', (binaryNames, outputs, bytes) => {
    const encoded = encodeResponse(response, (name) => binaryNames.includes(name));
    expect(partsOf(encoded)).toEqual([{ ...response, outputs }, bytes]);
  });
});

test('the metadata of a model that is loaded has its precision', () => {
  expect(modelMetadata('blip', smallSchema, { precision: 'int8' })).toMatchObject({
    parameters: { precision: 'int8' },
  });
});

test('the metadata of a model has its tensors as they are on the wire', () => {
  expect(modelMetadata('blip', smallSchema)).toEqual({
    name: 'blip',
    versions: ['1'],
    platform: 'onnx_onnxv1',
    inputs: [
      { name: 'image', datatype: 'BYTES', shape: [-1] },
      { name: 'count', datatype: 'INT64', shape: [1] },
      { name: 'scale', datatype: 'FP32', shape: [1] },
      { name: 'sure', datatype: 'BOOL', shape: [1] },
      { name: 'early', datatype: 'BYTES', shape: [1] },
    ],
    outputs: [
      { name: 'caption', datatype: 'BYTES', shape: [-1] },
      { name: 'score', datatype: 'FP32', shape: [-1, 2] },
    ],
  });
});
