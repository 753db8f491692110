import { describe, expect, test } from 'vitest';
import { decoder, requireMessage } from '../../../handlers/grpc/codec.ts';
import { ImagePromptSchema } from '../../../handlers/grpc/generated/blip/v1/visual_question_answering_pb.js';
import { ModelInferRequestSchema } from '../../../handlers/grpc/generated/open_inference_pb.js';
import { thrownBy } from '../../support/thrown.ts';

const read = (bytes: Buffer, maxBytes = Number.POSITIVE_INFINITY) =>
  requireMessage(decoder(ModelInferRequestSchema, { maxBytes })(bytes));

/** A field of a number whose content has less than 2 MB: its tag, its length in three bytes, its content. */
function field(number: number, content: Buffer): Buffer {
  const { length } = content;
  const head = [(number << 3) | 2, (length & 0x7f) | 0x80, ((length >> 7) & 0x7f) | 0x80, length >> 14];
  return Buffer.concat([Buffer.from(head), content]);
}

const times = (count: number, part: Buffer) => Buffer.concat(Array.from({ length: count }, () => part));
const empty = (number: number) => Buffer.from([(number << 3) | 2, 0]);

test('fields that there are not are not kept', () => {
  expect(read(Buffer.from('7800'.repeat(1000), 'hex')).$unknown).toBeUndefined();
});

test('a message has as many bytes as it may', () => {
  expect(read(empty(1), 2)).toMatchObject({ modelName: '' });
  expect(thrownBy(() => read(empty(1), 1))).toMatchObject({ code: 'PAYLOAD_TOO_LARGE' });
});

describe('more values than can be answered are refused, wherever they are', () => {
  const many = 65_537;
  test.each<[string, Buffer]>([
    ['parameters', times(many, empty(4))],
    ['inputs', times(many, empty(5))],
    ['outputs', times(many, empty(6))],
    ['raw contents', times(many, empty(7))],
    ['parameters of an input', field(5, times(many, empty(4)))],
    ['elements of an input', field(5, field(5, times(many, empty(8))))],
    ['dimensions, packed', field(5, field(3, Buffer.alloc(many)))],
    ['numbers one by one', field(5, field(5, times(many, Buffer.from([2 << 3, 0]))))],
    ['inputs with several values each', times(many / 3, field(5, times(3, empty(1))))],
  ])('%s', (_what, bytes) => {
    const refusal = { code: 'INVALID_REQUEST', message: expect.stringContaining('at most 65536 values') };
    expect(thrownBy(() => read(bytes))).toMatchObject(refusal);
  });

  test('in a Struct, where entries hold lists', () => {
    const list = (items: number) => field(6, times(items, empty(1))); // A Value with a ListValue.
    const parameters = (items: number) =>
      field(5, field(1, Buffer.concat([field(1, Buffer.from('x')), field(2, list(items))])));
    const readPrompt = (bytes: Buffer) =>
      requireMessage(decoder(ImagePromptSchema, { maxBytes: Number.POSITIVE_INFINITY })(bytes));
    expect(thrownBy(() => readPrompt(parameters(many)))).toMatchObject({
      code: 'INVALID_REQUEST',
      message: expect.stringContaining('at most 65536 values'),
    });
    expect(readPrompt(parameters(2)).parameters).toHaveProperty('x');
  });

  test('but not large ones', () => {
    const image = Buffer.alloc(1_000_000);
    const { inputs, rawInputContents } = read(Buffer.concat([field(5, field(5, field(8, image))), field(7, image)]));
    expect(inputs[0]?.contents?.bytesContents[0]).toHaveLength(image.length);
    expect(rawInputContents[0]).toHaveLength(image.length);
    expect(read(times(65_536, empty(7))).rawInputContents).toHaveLength(65_536);
  });
});
