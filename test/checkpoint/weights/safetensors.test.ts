import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readSafetensorsHeader } from '../../../checkpoint/weights/safetensors.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { type SafetensorsFile, writeSafetensors } from '../../support/safetensors-file.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

/** Reading `file` must fail; the message must have the path and these parts. */
function expectInvalid(file: SafetensorsFile | Uint8Array, parts: readonly string[]): void {
  const path = writeSafetensors(file);
  expectCheckpointError(() => readSafetensorsHeader(path), 'CHECKPOINT_WEIGHTS_INVALID', [path, 'expected', ...parts]);
}

const weight = { dtype: 'F32', shape: [2, 3], data_offsets: [0, 24] };

describe('a header that is not whole', () => {
  test('a file without any bytes is refused', () => {
    expectInvalid(Buffer.alloc(0), ['expected weights', 'got an empty file']);
  });

  test('a file of seven bytes is refused', () => {
    expectInvalid(Buffer.alloc(7), ['expected 8 bytes at 0', 'got 7']);
  });

  test('a header that is longer than the file is refused', () => {
    expectInvalid({ header: {}, declaredBytes: 1000n }, ['at most 2 bytes', 'got 1000']);
  });

  test('a header of 2^64 - 1 bytes is refused before anything is allocated', () => {
    expectInvalid({ header: {}, declaredBytes: 2n ** 64n - 1n }, ['at most 2 bytes', 'got 18446744073709551615']);
  });

  test('a header of no bytes is refused', () => {
    expectInvalid({ header: '' }, ['a JSON header']);
  });

  test('a header that is cut off is refused', () => {
    expectInvalid({ header: '{"weight":{"dtype":"F32"' }, ['a JSON header', 'got the beginning of a file']);
  });

  test('text that is not JSON is refused, and not quoted', () => {
    const path = writeSafetensors({ header: 'version https://git-lfs.github.com/spec/v1' });
    const error = expectCheckpointError(() => readSafetensorsHeader(path), 'CHECKPOINT_WEIGHTS_INVALID', [path]);
    expect(error.message).not.toContain('git-lfs');
  });

  test.each([
    ['a list', '[]', 'a list of 0'],
    ['null', 'null', 'null'],
    ['a number', '7', '7'],
    ['a string', '"weight"', '"weight"'],
  ])('%s in place of the header object is refused', (_, header, got) => {
    expectInvalid({ header }, ['a JSON object', `got ${got}`]);
  });

  test('a folder in place of the file is refused', () => {
    const folder = dirname(writeSafetensors({ header: {} }));
    expectCheckpointError(() => readSafetensorsHeader(folder), 'CHECKPOINT_FILE_UNREADABLE', [folder, 'got a folder']);
  });

  test('a file that is not there is refused', () => {
    const path = join(dirname(writeSafetensors({ header: {} })), 'other.safetensors');
    expectCheckpointError(() => readSafetensorsHeader(path), 'CHECKPOINT_FILE_UNREADABLE', [path, 'ENOENT']);
  });
});

describe('a tensor that is not described well', () => {
  test.each([
    ['a list', [], 'a list of 0'],
    ['null', null, 'null'],
    ['a string', 'F32', '"F32"'],
  ])('%s in place of its description is refused', (_, entry, got) => {
    expectInvalid({ header: { weight: entry } }, ['tensor weight', 'dtype, shape and data_offsets', `got ${got}`]);
  });

  test('a dtype that nobody knows is refused', () => {
    const header = { weight: { ...weight, dtype: 'F12' } };
    expectInvalid({ header, dataBytes: 24 }, ['tensor weight', 'a dtype among', 'BF16', 'got "F12"']);
  });

  test('a dtype by the name of an object method is refused', () => {
    const header = { weight: { ...weight, dtype: 'toString' } };
    expectInvalid({ header, dataBytes: 24 }, ['tensor weight', 'a dtype among', 'got "toString"']);
  });

  test('a missing dtype is refused', () => {
    const header = { weight: { shape: [2, 3], data_offsets: [0, 24] } };
    expectInvalid({ header, dataBytes: 24 }, ['tensor weight', 'a dtype among', 'got nothing']);
  });

  test('a missing shape is refused', () => {
    const header = { weight: { dtype: 'F32', data_offsets: [0, 24] } };
    expectInvalid({ header, dataBytes: 24 }, ['tensor weight', 'a shape', 'got nothing']);
  });

  test('missing offsets are refused', () => {
    const header = { weight: { dtype: 'F32', shape: [2, 3] } };
    expectInvalid({ header, dataBytes: 24 }, ['tensor weight', 'data_offsets', 'got nothing']);
  });

  test.each([
    ['negative', [2, -3], '-3'],
    ['fractional', [2, 1.5], '1.5'],
    ['too large for a whole number', [2, 2 ** 53], '9007199254740992'],
    ['a string', ['2', 3], '"2"'],
    ['null', [2, null], 'null'],
  ])('a shape with an entry that is %s is refused, and the entry named', (_, shape, got) => {
    const header = { weight: { dtype: 'F32', shape, data_offsets: [0, 24] } };
    expectInvalid({ header, dataBytes: 24 }, ['tensor weight', 'a shape of whole numbers', got]);
  });

  test('a shape whose size no file can have is refused', () => {
    const header = { weight: { dtype: 'F32', shape: [2 ** 52, 2 ** 52, 4], data_offsets: [0, 24] } };
    expectInvalid({ header, dataBytes: 24 }, [
      'tensor weight',
      'F32 [4503599627370496, 4503599627370496, 4]',
      'got 24',
    ]);
  });

  test('a shape whose size exceeds every number is refused, even with a zero in it', () => {
    const shape = [...Array.from({ length: 30 }, () => 2 ** 52), 0];
    const path = writeSafetensors({ header: { weight: { dtype: 'F32', shape, data_offsets: [0, 0] } } });
    const error = expectCheckpointError(() => readSafetensorsHeader(path), 'CHECKPOINT_WEIGHTS_INVALID', [
      path,
      'tensor weight',
      '4503599627370496',
    ]);
    expect(error.message).not.toContain('NaN');
  });

  test.each([
    ['too few bytes', [0, 20], 'got 20'],
    ['too many bytes', [0, 28], 'got 28'],
  ])('%s for dtype and shape are refused', (_, offsets, got) => {
    const header = { weight: { ...weight, data_offsets: offsets } };
    expectInvalid({ header, dataBytes: 28 }, ['tensor weight', '24 bytes for F32 [2, 3]', got]);
  });
});

describe('offsets that do not fit', () => {
  test('offsets beyond the end of the file are refused', () => {
    expectInvalid({ header: { weight }, dataBytes: 23 }, ['tensor weight', '23 bytes of data', 'got 0 to 24']);
  });

  test('a beginning after the end is refused', () => {
    const header = { weight: { ...weight, data_offsets: [24, 0] } };
    expectInvalid({ header, dataBytes: 24 }, ['tensor weight', 'data_offsets', 'got 24 to 0']);
  });

  test.each([
    ['one number', [24], '24'],
    ['three numbers', [0, 12, 24], '12'],
    ['a negative number', [-24, 0], '-24'],
    ['a fraction', [0.5, 24.5], '0.5'],
    ['a number beyond all files', [2 ** 53, 2 ** 53 + 24], '9007199254740992'],
  ])('%s in place of two offsets is refused, and named', (_, offsets, got) => {
    const header = { weight: { ...weight, data_offsets: offsets } };
    expectInvalid({ header, dataBytes: 24 }, ['tensor weight', 'two data_offsets', got]);
  });

  test('two tensors on the same bytes are refused, and both named', () => {
    expectInvalid({ header: { first: weight, second: weight }, dataBytes: 24 }, ['tensor second', 'first']);
  });

  test('two tensors that overlap by one byte are refused, whatever their order in the header', () => {
    const header = {
      late: { dtype: 'U8', shape: [10], data_offsets: [9, 19] },
      early: { dtype: 'U8', shape: [10], data_offsets: [0, 10] },
    };
    expectInvalid({ header, dataBytes: 19 }, ['tensor late', 'early']);
  });

  test('a tensor inside a longer one is refused', () => {
    const header = {
      whole: { dtype: 'U8', shape: [30], data_offsets: [0, 30] },
      inside: { dtype: 'U8', shape: [5], data_offsets: [10, 15] },
    };
    expectInvalid({ header, dataBytes: 30 }, ['tensor inside', 'whole']);
  });
});

describe('a tensor that is named twice', () => {
  const first = '{"dtype":"U8","shape":[4],"data_offsets":[0,4]}';
  const second = '{"dtype":"U8","shape":[4],"data_offsets":[4,8]}';

  test.each([
    ['spelled alike', `{"weight":${first},"weight":${second}}`, 'weight'],
    ['with one spelling escaped', String.raw`{"a":${first},"\u0061":${second}}`, 'a'],
    ['with an escaped slash', String.raw`{"a/b":${first},"a\/b":${second}}`, 'a/b'],
    ['with a space before the colon', `{"weight" :${first},"weight"\t:${second}}`, 'weight'],
    ['with a quote in the name', String.raw`{"a\"b":${first},"a\u0022b":${second}}`, 'a"b'],
    ['as __metadata__', '{"__metadata__":{},"__metadata__":{}}', '__metadata__'],
  ])('is refused: %s', (_, header, name) => {
    expectInvalid({ header, dataBytes: 8 }, [`${name} twice`]);
  });

  test('inner keys are not names of tensors', () => {
    const header = `{"dtype":${first},"shape":${second},"__metadata__":{"dtype":"x","shape":"y"}}`;
    const path = writeSafetensors({ header, dataBytes: 8 });
    expect(readSafetensorsHeader(path).map(({ name }) => name)).toEqual(['dtype', 'shape']);
  });
});

describe('a header that is in order', () => {
  test('every tensor has its dtype, shape and place, counted from the start of the file', () => {
    const header = {
      __metadata__: { format: 'pt' },
      weight,
      scalar: { dtype: 'I64', shape: [], data_offsets: [24, 32] },
      empty: { dtype: 'F16', shape: [0, 7], data_offsets: [24, 24] },
      alsoEmpty: { dtype: 'F16', shape: [3, 0], data_offsets: [0, 0] },
    };
    const path = writeSafetensors({ header, dataBytes: 32 });
    const dataStart = 8 + JSON.stringify(header).length;
    expect(readSafetensorsHeader(path)).toEqual([
      { name: 'weight', dtype: 'F32', shape: [2, 3], path, offsetBytes: dataStart, lengthBytes: 24 },
      { name: 'scalar', dtype: 'I64', shape: [], path, offsetBytes: dataStart + 24, lengthBytes: 8 },
      { name: 'empty', dtype: 'F16', shape: [0, 7], path, offsetBytes: dataStart + 24, lengthBytes: 0 },
      { name: 'alsoEmpty', dtype: 'F16', shape: [3, 0], path, offsetBytes: dataStart, lengthBytes: 0 },
    ]);
  });

  test('a header padded with spaces, as published files have it, counts with its spaces', () => {
    const header = `${JSON.stringify({ weight })}     `;
    const path = writeSafetensors({ header, dataBytes: 24 });
    expect(readSafetensorsHeader(path)).toMatchObject([{ offsetBytes: 8 + header.length }]);
  });

  test('a header without tensors is a table without tensors', () => {
    expect(readSafetensorsHeader(writeSafetensors({ header: {} }))).toEqual([]);
  });

  test('names are taken as they are', () => {
    const names = ['', '{', '"weight":', '\\', 'größe', '__proto__', 'constructor'];
    const entries = names.map((name, index) => [name, { dtype: 'U8', shape: [1], data_offsets: [index, index + 1] }]);
    const path = writeSafetensors({ header: Object.fromEntries(entries), dataBytes: names.length });
    expect(readSafetensorsHeader(path).map(({ name }) => name)).toEqual(names);
  });

  test('metadata that reads like JSON, a hundred levels deep, is text', () => {
    const nested = `${'{"weight":['.repeat(100)}"weight":"}]"${']}'.repeat(100)}`;
    const lopsided = '{{{[[["weight": \\" \\\\';
    const header = { __metadata__: { nested, lopsided, weight: '}"weight":{' }, weight };
    const path = writeSafetensors({ header, dataBytes: 24 });
    expect(readSafetensorsHeader(path).map(({ name }) => name)).toEqual(['weight']);
  });

  test('metadata that is nested a hundred levels deep is left alone', () => {
    const header = `{"__metadata__":${'{"weight":['.repeat(100)}${']}'.repeat(100)},"weight":${JSON.stringify(weight)}}`;
    const path = writeSafetensors({ header, dataBytes: 24 });
    expect(readSafetensorsHeader(path).map(({ name }) => name)).toEqual(['weight']);
  });

  test('metadata of many megabytes is read like any other', () => {
    const path = writeSafetensors({
      header: { __metadata__: { notes: 'x'.repeat(24_000_000) }, weight },
      dataBytes: 24,
    });
    expect(readSafetensorsHeader(path).map(({ name }) => name)).toEqual(['weight']);
  });

  test('the file of a published layout has every tensor within its bytes', () => {
    const regions = readSafetensorsHeader(`${checkpointFolder('narrow-vision')}/model.safetensors`);
    expect(regions.length).toBeGreaterThan(50);
    expect(regions.map(({ name }) => name)).toContain('vision_model.embeddings.class_embedding');
  });
});
