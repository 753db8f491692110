import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { imagePath } from '../../../support/goldens.ts';
import { bytes, dataUri, expectError, outputOf, postInference, readAnswer, send } from '../../../support/server.ts';
import { withServer } from '../../../support/with-server.ts';

/** The extension for binary tensors, as Triton's clients use it. */

const server = withServer();

const chelsea = readFileSync(imagePath('chelsea'));
const element = (value: Uint8Array) => {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(value.length);
  return Buffer.concat([length, value]);
};
const plain = { inputs: [bytes('img_url', [dataUri('chelsea')]), bytes('text', ['a picture of'])] };

/** Sends JSON with binary sections behind it. */
function post(json: object, sections: readonly Uint8Array[], header?: string) {
  const head = Buffer.from(JSON.stringify(json));
  const headers = { 'inference-header-content-length': header ?? String(head.length) };
  return postInference(server.url, Buffer.concat([head, ...sections]), { headers });
}

function binaryInput(name: string, datatype: string, section: Uint8Array) {
  return { name, shape: [1], datatype, parameters: { binary_data_size: section.length } };
}

describe('inputs', () => {
  test.each([
    ['a file', element(chelsea)],
    ['a data: URI', element(Buffer.from(dataUri('chelsea')))],
    ['base64', element(Buffer.from(chelsea.toString('base64')))],
  ])('an image may be %s', async (_, image) => {
    const text = element(Buffer.from('a picture of'));
    const answer = await post(
      { inputs: [binaryInput('img_url', 'BYTES', image), binaryInput('text', 'BYTES', text)] },
      [image, text],
    );
    expect(readAnswer(answer)).toEqual(readAnswer(await postInference(server.url, plain)));
  });

  test('may be binary beside tensors with data, in their order', async () => {
    const image = element(chelsea);
    const count = Buffer.from([3, 0, 0, 0]);
    const inputs = [
      binaryInput('img_url', 'BYTES', image),
      bytes('text', ['a picture of']),
      binaryInput('max_new_tokens', 'INT32', count),
    ];
    const asJson = { ...plain, parameters: { max_new_tokens: 3 } };
    expect(readAnswer(await post({ inputs }, [image, count]))).toEqual(
      readAnswer(await postInference(server.url, asJson)),
    );
  });

  test.each<[string, object, readonly Uint8Array[], string | undefined, string]>([
    [
      'fewer bytes than said',
      { inputs: [{ ...binaryInput('img_url', 'BYTES', chelsea) }] },
      [chelsea.subarray(1)],
      undefined,
      'INVALID_REQUEST',
    ],
    ['more bytes than said', { inputs: [bytes('img_url', ['x'])] }, [chelsea], undefined, 'INVALID_REQUEST'],
    [
      'data and bytes',
      { inputs: [{ ...bytes('img_url', ['x']), parameters: { binary_data_size: 1 } }] },
      [chelsea.subarray(0, 1)],
      undefined,
      'INVALID_REQUEST',
    ],
    [
      'an element that is cut',
      { inputs: [binaryInput('img_url', 'BYTES', chelsea)] },
      [chelsea],
      undefined,
      'INVALID_INPUT',
    ],
    [
      'two elements for one',
      { inputs: [binaryInput('img_url', 'BYTES', Buffer.alloc(8))] },
      [Buffer.alloc(8)],
      undefined,
      'INVALID_INPUT',
    ],
    [
      'a file that is none',
      { inputs: [binaryInput('img_url', 'BYTES', Buffer.alloc(9, 0))] },
      [Buffer.from([5, 0, 0, 0, 0, 1, 2, 3, 4])],
      undefined,
      'IMAGE_UNSUPPORTED',
    ],
    [
      'a file where text belongs',
      { inputs: [bytes('img_url', [dataUri('chelsea')]), binaryInput('text', 'BYTES', Buffer.alloc(6))] },
      [element(Buffer.from([0xff, 0xfe]))],
      undefined,
      'INVALID_INPUT',
    ],
    [
      'a negative size',
      { inputs: [{ name: 'img_url', shape: [1], datatype: 'BYTES', parameters: { binary_data_size: -1 } }] },
      [],
      undefined,
      'INVALID_REQUEST',
    ],
    ['no JSON', plain, [], '0', 'INVALID_REQUEST'],
    ['a length beyond the body', plain, [], '100000000', 'INVALID_REQUEST'],
    ['a length that is no number', plain, [], '1e3', 'INVALID_REQUEST'],
    ['a negative length', plain, [], '-1', 'INVALID_REQUEST'],
    ['half of the JSON', plain, [], '100', 'INVALID_REQUEST'],
  ])('are refused: %s', async (_, json, sections, header, code) => {
    expectError(await post(json, sections, header), 400, code);
  });

  test.each([
    ['img_url', 'BYTES', 100_000, 'at most 65536 values'],
    ['seed', 'UINT8', 9, 'at most 1 values'],
    ['text', 'BYTES', 2, 'to have 2 values, got more'],
  ])('are not read beyond the limit of %s', async (name, datatype, count, words) => {
    const section = Buffer.alloc(400_000);
    const answer = await post({ inputs: [{ ...binaryInput(name, datatype, section), shape: [count] }] }, [section]);
    expect(expectError(answer, 400, 'INVALID_INPUT').error).toContain(words);
  });
});

describe('outputs', () => {
  const outputs = ['generated_output', 'token_ids', 'sequence_logprob'];

  test.each([
    [
      'all of a request',
      { parameters: { binary_data_output: true }, outputs: outputs.map((name) => ({ name })) },
      [true, true, true],
    ],
    [
      'one by one',
      { outputs: outputs.map((name, index) => ({ name, parameters: { binary_data: index !== 1 } })) },
      [true, false, true],
    ],
    [
      'all but one',
      {
        parameters: { binary_data_output: true },
        outputs: outputs.map((name, index) => (index === 0 ? { name, parameters: { binary_data: false } } : { name })),
      },
      [false, true, true],
    ],
  ])('come as binary tensors: %s', async (_, outputOptions, binary) => {
    const expected = readAnswer(
      await postInference(server.url, { ...plain, outputs: outputs.map((name) => ({ name })) }),
    );
    const answer = await postInference(server.url, { ...plain, ...outputOptions });
    expect(answer).toMatchObject({ status: 200, headers: { 'content-type': 'application/octet-stream' } });
    const jsonLength = Number(answer.headers['inference-header-content-length']);
    const json = JSON.parse(answer.bytes.subarray(0, jsonLength).toString());
    let offset = jsonLength;
    for (const [index, output] of json.outputs.entries()) {
      const { name, datatype, shape, data } = outputOf(expected, outputs[index] ?? '');
      expect(output).toMatchObject({ name, datatype, shape });
      if (!binary[index]) {
        expect(output.data).toEqual(data);
        continue;
      }
      expect(output.data).toBeUndefined();
      const section = answer.bytes.subarray(offset, offset + output.parameters.binary_data_size);
      offset += section.length;
      if (datatype === 'BYTES') expect(section).toEqual(element(Buffer.from(String(data[0]))));
      if (datatype === 'INT64') expect(data.map((_, index) => Number(section.readBigInt64LE(index * 8)))).toEqual(data);
      if (datatype === 'FP32') expect(section.readFloatLE(0)).toBe(Math.fround(Number(data[0])));
    }
    expect(offset).toBe(answer.bytes.length);
  });

  test('are not binary where the request fails: an error is JSON', async () => {
    const request = { inputs: [bytes('img_url', ['####'])], parameters: { binary_data_output: true } };
    expectError(await postInference(server.url, request), 400, 'IMAGE_SOURCE_INVALID');
  });
});

test('the metadata of the service names the extension', async () => {
  expect(JSON.parse((await send(server.url, { path: '/v2' })).text).extensions).toContain('binary_tensor_data');
});
