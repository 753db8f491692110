import { describe, expect, test } from 'vitest';
import { decodeTensor, encodeTensor } from '../../protocol/binary-tensor.ts';
import { bytesTensor, float32Tensor, int64Tensor } from '../../protocol/named-tensor.ts';
import { thrownBy } from '../support/thrown.ts';

/** The bytes are written out by hand after Triton's description of its extension, not by our own encoder. */

/** Reads a tensor of an input that takes files, as an image does. */
const decode = (tensor: Parameters<typeof decodeTensor>[0], bytes: Uint8Array, maxValues: number) =>
  decodeTensor(tensor, { acceptsBytes: true }, bytes, maxValues);

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

describe('values of a request', () => {
  test.each<[string, string, readonly (number | boolean)[]]>([
    ['BOOL', '00 01', [false, true]],
    ['UINT8', '00 ff', [0, 255]],
    ['INT8', '7f 80', [127, -128]],
    ['UINT16', '0102 ffff', [513, 65_535]],
    ['INT16', 'feff', [-2]],
    ['UINT32', 'ffffffff', [4_294_967_295]],
    ['INT32', '00000080', [-2_147_483_648]],
    ['UINT64', '0100000000000000', [1]],
    ['INT64', 'ffffffffffffffff 0000000001000000', [-1, 2 ** 32]],
    // 1, -2, the largest, the smallest normal and subnormal numbers, and what is no number.
    ['FP16', '003c 00c0 ff7b 0004 0100 007c 00fc', [1, -2, 65_504, 2 ** -14, 2 ** -24, Infinity, -Infinity]],
    ['FP16', '007e', [Number.NaN]],
    ['BF16', '803f 00c0 0000', [1, -2, 0]],
    ['FP32', '0000803f cdcccc3d', [1, Math.fround(0.1)]],
    ['FP64', '9a9999999999b93f', [0.1]],
    ['INT64', '', []],
  ])('%s %s', (datatype, text, values) => {
    expect(decode({ name: 'x', datatype }, hex(text), 9)).toEqual(values);
  });

  test('elements of BYTES stand behind their lengths; text is text', () => {
    const bytes = Buffer.concat([
      hex('03000000'),
      Buffer.from('cat'),
      hex('00000000'),
      hex('06000000'),
      Buffer.from('löwe', 'utf8').subarray(0, 6),
    ]);
    // 'löwe' has five bytes in UTF-8, so the last element is cut.
    expect(thrownBy(() => decode({ name: 'text', datatype: 'BYTES' }, bytes, 9))).toMatchObject({
      code: 'INVALID_INPUT',
    });
    const whole = Buffer.concat([
      hex('03000000'),
      Buffer.from('cat'),
      hex('00000000'),
      hex('05000000'),
      Buffer.from('löwe'),
    ]);
    expect(decode({ name: 'text', datatype: 'BYTES' }, whole, 9)).toEqual(['cat', '', 'löwe']);
  });

  test.each(['BYTES', 'UINT8', 'INT64'])('are read no further than they are wanted: %s', (datatype) => {
    expect(decode({ name: 'x', datatype }, Buffer.alloc(80), 3)).toHaveLength(3);
  });

  test('an element that is no text changes nothing for the next', () => {
    const bytes = Buffer.concat([hex('02000000 63e9'), hex('05000000'), Buffer.from('löwe')]);
    expect(decode({ name: 'x', datatype: 'BYTES' }, bytes, 9)).toEqual([hex('63e9'), 'löwe']);
  });

  test('an element of an input that takes no files is text, whatever characters it has', () => {
    const nul = Buffer.concat([hex('04000000'), Buffer.from('cat\0'), hex('02000000'), Buffer.from('\x01\x02')]);
    expect(decodeTensor({ name: 'text', datatype: 'BYTES' }, {}, nul, 9)).toEqual(['cat\0', '\x01\x02']);
  });

  test('an element with the NUL byte of texts in C is text', () => {
    const url = Buffer.from('https://example.com/a.png\0');
    expect(decode({ name: 'img_url', datatype: 'BYTES' }, Buffer.concat([hex('1a000000'), url]), 9)).toEqual([
      'https://example.com/a.png\0',
    ]);
  });

  test.each([
    ['PNG', '89504e470d0a1a0a'],
    ['JPEG', 'ffd8ffe000104a464946'],
    ['GIF', '474946383961 0a00 0a00 80'],
    ['WebP', '52494646 24000000 57454250'],
    ['AVIF', '0000002066747970 61766966'],
    ['text that is not UTF-8', '63 61 66 e9'],
  ])('an element that begins as a file stays bytes: %s', (_, text) => {
    const file = hex(text);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(file.length);
    expect(decode({ name: 'img_url', datatype: 'BYTES' }, Buffer.concat([length, file]), 9)).toEqual(
      [new Uint8Array(file)].map(Buffer.from),
    );
  });

  test.each([
    ['INT64', '00', /multiple of 8 bytes, got 1/],
    ['FP16', '000000', /multiple of 2/],
    ['FLOAT', '00', /datatype of the protocol/],
    ['__proto__', '00', /datatype of the protocol/],
    ['BYTES', '01', /cut short/],
    ['BYTES', '0500000061', /cut short/],
    ['BYTES', 'ffffffff61', /cut short/],
  ])('an incomplete tensor is refused: %s %s', (datatype, text, message) => {
    expect(thrownBy(() => decode({ name: 'x', datatype }, hex(text), 9))).toMatchObject({
      code: 'INVALID_INPUT',
      message: expect.stringMatching(message),
    });
  });
});

describe('values of an answer', () => {
  test('are little-endian, and texts stand behind their lengths', () => {
    expect(Buffer.from(encodeTensor(float32Tensor('x', [2], [1, -2]))).toString('hex')).toBe('0000803f000000c0');
    expect(Buffer.from(encodeTensor(int64Tensor('x', [1], [-1]))).toString('hex')).toBe('ff'.repeat(8));
    expect(Buffer.from(encodeTensor(bytesTensor('x', [2], ['a', 'ö']))).toString('hex')).toBe('010000006102000000c3b6');
    expect(encodeTensor(bytesTensor('x', [0], []))).toHaveLength(0);
  });
});
