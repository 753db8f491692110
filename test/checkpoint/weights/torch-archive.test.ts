import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { CheckpointErrorCode } from '../../../checkpoint/errors.ts';
import type { TensorRegion } from '../../../checkpoint/weights/safetensors.ts';
import { readTorchArchive } from '../../../checkpoint/weights/torch-archive.ts';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { type CheckpointName, checkpointFolder } from '../../support/goldens.ts';
import {
  dict,
  global,
  integer,
  opcodes,
  type PicklePart,
  pickle,
  sizes,
  stateDict,
  type TensorParts,
  tensor,
  text,
  tuple,
} from '../../support/pickle-bytes.ts';
import { expectCheckpointError } from '../../support/thrown.ts';
import {
  type Storages,
  torchArchive,
  torchArchivePath,
  torchRecords,
  writeTorchArchive,
} from '../../support/torch-archive-file.ts';
import { type ZipContent, zipFile } from '../../support/zip-file.ts';

/** Reading these bytes must fail; the message must have the path and these parts. */
function expectError(bytes: Uint8Array, code: CheckpointErrorCode, parts: readonly string[]): void {
  const path = writeTorchArchive(bytes);
  expectCheckpointError(() => readTorchArchive(path), code, [`${path}: `, 'expected ', ...parts]);
}

function expectInvalid(bytes: Uint8Array, ...parts: readonly string[]): void {
  expectError(bytes, 'CHECKPOINT_WEIGHTS_INVALID', parts);
}

/** A state dict of one tensor, in an archive that has one storage of 24 bytes. */
function withWeight(weight: PicklePart, storages?: Storages): Buffer {
  return torchArchive(pickle(stateDict({ weight })), storages);
}

function read(bytes: Uint8Array): readonly TensorRegion[] {
  return readTorchArchive(writeTorchArchive(bytes));
}

function bytesOf({ path, offsetBytes, lengthBytes }: TensorRegion): Buffer {
  return readFileSync(path).subarray(offsetBytes, offsetBytes + lengthBytes);
}

describe('checkpoints that torch.save wrote', () => {
  const archives: readonly (readonly [archive: string, checkpoint: CheckpointName])[] = [
    ['narrow-vision', 'narrow-vision'],
    ['sharded-float16', 'sharded-float16'],
    ['untied-bfloat16', 'untied-bfloat16'],
    ['original-names', 'untied-bfloat16'],
  ];

  test.each(archives)('%s has the tensors of the safetensors, byte for byte', (archive, checkpoint) => {
    const wanted = openWeights(checkpointFolder(checkpoint)).regions;
    const found = openWeights(dirname(torchArchivePath(`${archive}/pytorch_model.bin`))).regions;
    const names = [...wanted.keys()].filter((name) => archive !== 'original-names' || !name.endsWith('position_ids'));
    expect(names.length).toBeGreaterThan(70);
    for (const name of names) {
      const [want, got] = [wanted.get(name), found.get(name)];
      if (want === undefined || got === undefined) throw new Error(`Expected ${name} in both files.`);
      expect({ name, dtype: got.dtype, shape: got.shape }).toEqual({ name, dtype: want.dtype, shape: want.shape });
      expect(bytesOf(got).equals(bytesOf(want)), name).toBe(true);
    }
  });

  test('tied tensors lie on the same bytes', () => {
    const { regions } = openWeights(dirname(torchArchivePath('narrow-vision/pytorch_model.bin')));
    const head = regions.get('text_decoder.cls.predictions.decoder.weight');
    const embeddings = regions.get('text_decoder.bert.embeddings.word_embeddings.weight');
    expect(head).toEqual({ ...embeddings, name: 'text_decoder.cls.predictions.decoder.weight' });
  });

  test('int64 position_ids are listed', () => {
    const { regions } = openWeights(dirname(torchArchivePath('untied-bfloat16/pytorch_model.bin')));
    expect(regions.get('text_decoder.bert.embeddings.position_ids')).toMatchObject({ dtype: 'I64', shape: [1, 64] });
  });

  test('values beside the model in an original checkpoint are left out', () => {
    const names = readTorchArchive(torchArchivePath('original-names/pytorch_model.bin')).map(({ name }) => name);
    expect(names).toContain('visual_encoder.blocks.0.attn.qkv.weight');
    expect(names.filter((name) => !/^(visual_encoder|text_decoder)\./.test(name))).toEqual([]);
  });
});

describe('small archives that torch.save wrote', () => {
  interface Expected {
    readonly dtype: string;
    readonly shape: readonly number[];
    readonly bytes: string;
  }
  const { tensors } = JSON.parse(readFileSync(torchArchivePath('small/expected.json'), 'utf8')) as {
    readonly tensors: Readonly<Record<string, Readonly<Record<string, Expected>>>>;
  };
  const dtypes: Readonly<Record<string, string>> = {
    float32: 'F32',
    float16: 'F16',
    bfloat16: 'BF16',
    float64: 'F64',
    int64: 'I64',
    int32: 'I32',
    int16: 'I16',
    int8: 'I8',
    uint8: 'U8',
    bool: 'BOOL',
  };

  test.each(Object.entries(tensors))('%s has what torch has', (file, wanted) => {
    const regions = readTorchArchive(torchArchivePath(`small/${file}.bin`));
    const found = regions.map((region) => [
      region.name,
      { dtype: region.dtype, shape: region.shape, bytes: bytesOf(region).toString('hex') },
    ]);
    const expected = Object.entries(wanted).map(([name, value]) => [name, { ...value, dtype: dtypes[value.dtype] }]);
    expect(found.length).toBeGreaterThan(1);
    expect(found).toEqual(expected);
  });

  test('a tensor that is saved twice, and views of it, lie on the same bytes', () => {
    const places = readTorchArchive(torchArchivePath('small/views.bin')).map(
      ({ name, offsetBytes }) => [name, offsetBytes] as const,
    );
    const offsets = new Map(places);
    const whole = offsets.get('whole') ?? Number.NaN;
    expect(offsets.get('tied')).toBe(whole);
    expect(offsets.get('flat')).toBe(whole);
    expect(offsets.get('row')).toBe(whole + 16);
    expect(offsets.get('element')).toBe(whole + 32);
  });

  test.each([
    [
      'legacy',
      'a zip archive, as torch.save writes since PyTorch 1.6, got the format before it; torch.save(torch.load(',
    ],
    ['protocol-4', 'data.pkl: byte 2: expected pickle protocol 2, the default of torch.save, got 4.'],
    ['big-endian', 'expected byteorder little, got "big".'],
    [
      'transposed',
      'tensor weight: expected a contiguous tensor, with strides [2, 1], got [1, 2]; save tensor.contiguous()',
    ],
  ])('%s is refused', (file, problem) => {
    const path = torchArchivePath(`small/${file}.bin`);
    expectCheckpointError(() => readTorchArchive(path), 'CHECKPOINT_WEIGHTS_INVALID', [`${path}: `, problem]);
  });

  test.each([
    ['executed', 'posix.system'],
    ['module', 'torch.nn.modules.linear.Linear'],
    ['complex', 'torch.ComplexFloatStorage'],
    ['float8', 'torch._utils._rebuild_tensor_v3'],
    ['sparse', 'torch._utils._rebuild_sparse_tensor'],
  ])('%s is refused by the name of what it asks for', (file, name) => {
    const path = torchArchivePath(`small/${file}.bin`);
    expectCheckpointError(() => readTorchArchive(path), 'CHECKPOINT_PICKLE_REFUSED', [
      `${path}: data.pkl: byte `,
      'expected a pickle that names only tensors',
      `got ${name}; nothing was run.`,
    ]);
  });
});

describe('an archive that is in order', () => {
  test('a tensor has its dtype, shape and place, counted from the start of the file', () => {
    const pickled = pickle(stateDict({ weight: tensor() }));
    const path = writeTorchArchive(torchArchive(pickled));
    const headers = 30 + 'archive/data.pkl'.length + 30 + 'archive/byteorder'.length + 30 + 'archive/data/0'.length;
    const offsetBytes = headers + pickled.length + 'little'.length;
    expect(readTorchArchive(path)).toEqual([
      { name: 'weight', dtype: 'F32', shape: [2, 3], path, offsetBytes, lengthBytes: 24 },
    ]);
  });

  test('a state dict without tensors is a table without tensors', () => {
    expect(read(torchArchive(pickle('}')))).toEqual([]);
  });

  test('a state dict under model is read, whatever is beside it', () => {
    const optimizer = dict([[integer(0), ']']]);
    const pickled = pickle(
      dict([
        [text('optimizer'), optimizer],
        [text('model'), stateDict({ weight: tensor() })],
      ]),
    );
    expect(read(torchArchive(pickled)).map(({ name }) => name)).toEqual(['weight']);
  });

  test('a tensor that is called model is one', () => {
    expect(read(torchArchive(pickle(stateDict({ model: tensor() })))).map(({ name }) => name)).toEqual(['model']);
  });

  test('names and the keys of storages are taken as they are', () => {
    const names = ['', '__proto__', 'constructor', 'größe', '../weight', 'a\nb'];
    const key = '94051387526256';
    const entries = dict(names.map((name) => [text(name), tensor({ key: text(key) })]));
    expect(read(torchArchive(pickle(entries), { [key]: 24 })).map(({ name }) => name)).toEqual(names);
  });

  test('tensors that are empty, or have one element, have any strides', () => {
    const regions = read(
      torchArchive(
        pickle(
          stateDict({
            empty: tensor({ shape: sizes(2, 0, 3), strides: sizes(9, 9, 9), offset: integer(6) }),
            scalar: tensor({ shape: ')', strides: ')' }),
            single: tensor({ shape: sizes(1, 1), strides: sizes(5, 7), offset: integer(5) }),
          }),
        ),
      ),
    );
    const [empty, scalar, single] = regions;
    expect(regions.map(({ lengthBytes }) => lengthBytes)).toEqual([0, 4, 4]);
    expect((empty?.offsetBytes ?? 0) - (scalar?.offsetBytes ?? 0)).toBe(24);
    expect((single?.offsetBytes ?? 0) - (scalar?.offsetBytes ?? 0)).toBe(20);
  });
});

describe('a tensor that does not fit', () => {
  test.each<[string, TensorParts, string]>([
    [
      'a shape larger than its storage',
      { shape: sizes(3, 3) },
      'a storage of at least 9 elements for offset 0 and shape [3, 3], got 6',
    ],
    [
      'an offset that leads out of its storage',
      { offset: integer(1) },
      'a storage of at least 7 elements for offset 1 and shape [2, 3], got 6',
    ],
    [
      'an empty shape after its storage',
      { offset: integer(7), shape: sizes(0), strides: sizes(1) },
      'a storage of at least 7 elements',
    ],
    ['a negative offset', { offset: integer(-1) }, 'a whole number of at least 0 in its storage offset, got -1'],
    ['an offset beyond all files', { offset: integer(2n ** 62n) }, 'in its storage offset, got 4611686018427387904'],
    ['the largest offset that is exact', { offset: integer(2 ** 53 - 1) }, 'a storage of at least'],
    ['an offset that is text', { offset: text('0') }, 'in its storage offset, got "0"'],
    [
      'an offset that is a fraction',
      { offset: opcodes('G', Buffer.from('3fe0000000000000', 'hex')) },
      'in its storage offset, got 0.5',
    ],
    ['an offset that is True', { offset: '\x88' }, 'in its storage offset, got true'],
    ['a negative size', { shape: sizes(-2, -3) }, 'a whole number of at least 0 in its shape, got -2'],
    ['a size beyond all files', { shape: sizes(2n ** 60n, 3) }, 'in its shape, got 1152921504606846976'],
    ['a size that is None', { shape: tuple('N', 'N') }, 'in its shape, got null'],
    ['a shape that is a list', { shape: ']' }, 'a tuple as shape, got a list of 0'],
    [
      'a shape whose size no file can have',
      { shape: sizes(2 ** 50, 2 ** 50), strides: sizes(2 ** 50, 1) },
      'a shape that a file can have, got [1125899906842624, 1125899906842624]',
    ],
    [
      'a shape whose size exceeds every number',
      { shape: sizes(...Array(40).fill(2 ** 50), 0), strides: sizes(...Array(41).fill(1)) },
      'a shape that a file can have',
    ],
    ['a thousand axes', { shape: sizes(...Array(1000).fill(1)) }, 'at most 64 axes, got 1000'],
    [
      'strides of the other order',
      { strides: sizes(1, 2) },
      'a contiguous tensor, with strides [3, 1], got [1, 2]; save tensor.contiguous() instead',
    ],
    ['strides of zero, which repeat', { strides: sizes(0, 1) }, 'strides [3, 1], got [0, 1]'],
    ['strides that leave gaps', { strides: sizes(6, 2) }, 'strides [3, 1], got [6, 2]'],
    ['negative strides', { strides: sizes(-3, -1) }, 'a whole number of at least 0 in its strides, got -3'],
    ['too few strides', { strides: sizes(1) }, 'strides [3, 1], got [1]'],
    ['too many strides', { strides: sizes(3, 1, 1) }, 'strides [3, 1], got [3, 1, 1]'],
    ['strides that are no tuple', { strides: 'N' }, 'a tuple as strides, got null'],
    ['a storage that is no storage', { storage: 'N' }, 'a storage with class, key, location and size, got null'],
    [
      'a storage of another kind',
      {
        storage: opcodes(tuple(text('module'), global('torch.FloatStorage'), text('0'), text('cpu'), integer(6)), 'Q'),
      },
      'a storage with class, key, location and size',
    ],
    [
      'a storage without a size',
      { storage: opcodes(tuple(text('storage'), global('torch.FloatStorage'), text('0'), text('cpu')), 'Q') },
      'a storage with class, key, location and size',
    ],
    [
      'a storage of no class',
      { storageClass: 'collections.OrderedDict' },
      'a storage with class, key, location and size',
    ],
    ['a storage whose key is a number', { key: integer(0) }, 'a storage with class, key, location and size'],
    ['a storage that is not there', { key: text('1') }, 'a record archive/data/1, got none'],
    ['a storage that would lie elsewhere', { key: text('../data.pkl') }, 'a record archive/data/../data.pkl, got none'],
    [
      'a storage that has fewer bytes than it says',
      { elementCount: integer(7) },
      '28 bytes of storage in archive/data/0, got 24',
    ],
    [
      'a storage of wider elements',
      { storageClass: 'torch.DoubleStorage' },
      '48 bytes of storage in archive/data/0, got 24',
    ],
    [
      'a storage of a negative size',
      { elementCount: integer(-6) },
      'a whole number of at least 0 in its storage size, got -6',
    ],
    [
      'a storage of a size beyond all files',
      { elementCount: integer(2n ** 62n) },
      'in its storage size, got 4611686018427387904',
    ],
    [
      'a storage of the largest size that is exact',
      { elementCount: integer(2 ** 53 - 1) },
      'bytes of storage in archive/data/0, got 24',
    ],
    [
      'values to be negated',
      { more: [dict([[text('neg'), '\x88']])] },
      'a tensor as it lies in its storage, got one to be conjugated or negated',
    ],
    ['an argument too many', { more: ['N', 'N'] }, 'six or seven arguments of torch._utils._rebuild_tensor_v2, got 8'],
  ])('is refused by name: %s', (_, parts, problem) => {
    expectInvalid(withWeight(tensor(parts)), 'tensor weight: expected ', problem);
  });

  test.each<[string, PicklePart, string]>([
    ['a number', integer(3), 'a tensor, got 3'],
    ['None', 'N', 'a tensor, got null'],
    ['a storage', opcodes(text('storage'), 'Q'), 'a tensor, got a storage'],
    ['a class', global('torch.FloatStorage'), 'a tensor, got torch.FloatStorage'],
    ['a tensor of no arguments', opcodes(global('torch._utils._rebuild_tensor_v2'), ')R'), 'six or seven arguments'],
    ['a parameter of no tensor', opcodes(global('torch._utils._rebuild_parameter'), ')R'), 'a tensor, got null'],
    [
      'a parameter of a parameter',
      opcodes(
        global('torch._utils._rebuild_parameter'),
        global('torch._utils._rebuild_parameter'),
        tensor(),
        '\x85R\x85R',
      ),
      'a tensor, got a call of torch._utils._rebuild_parameter',
    ],
  ])('is refused by name: %s', (_, value, problem) => {
    expectInvalid(withWeight(value), 'tensor weight: expected ', problem);
  });

  test('a storage that is cut short is refused, and a longer one is not', () => {
    expectInvalid(withWeight(tensor(), { 0: 23 }), 'tensor weight', '24 bytes of storage in archive/data/0, got 23');
    expect(read(withWeight(tensor(), { 0: 25 }))).toMatchObject([{ lengthBytes: 24 }]);
  });

  test('an argument of metadata that says nothing is accepted', () => {
    expect(read(withWeight(tensor({ more: ['}'] })))).toMatchObject([{ name: 'weight' }]);
  });
});

describe('a state dict that is none', () => {
  test.each<[string, PicklePart, string]>([
    ['a tensor', tensor(), 'a state dict, got a call of torch._utils._rebuild_tensor_v2'],
    ['a list', ']', 'a state dict, got a list of 0'],
    ['text', text('weights'), 'a state dict, got "weights"'],
    [
      'two levels of model',
      dict([[text('model'), dict([[text('model'), '}']])]]),
      'one state dict, got a dict of "model" (a dict of 1); save model.state_dict() alone',
    ],
    [
      'a dict in a dict',
      stateDict({ weight: stateDict({ weight: tensor() }) }),
      'one state dict, got a dict of "weight" (a dict of 1)',
    ],
    ['numbers for names', dict([[integer(7), tensor()]]), 'tensor 7: expected a name, got the number 7'],
    [
      'a name twice',
      dict([
        [text('weight'), tensor()],
        [text('weight'), tensor()],
      ]),
      'each key once, got "weight" twice',
    ],
  ])('is refused: %s', (_, value, problem) => {
    expectInvalid(torchArchive(pickle(value)), problem);
  });
});

describe('records that do not belong together', () => {
  const pickled = pickle(stateDict({ weight: tensor() }));

  /** The archive with a record of other bytes. */
  function withRecord(name: string, data: Uint8Array | string): ZipContent {
    return torchRecords(pickled).map(([other, bytes]) => [other, other === name ? data : bytes]);
  }

  test.each<[string, ZipContent, string]>([
    ['no records', [], 'a zip archive, got 22 bytes that begin otherwise'],
    ['records in no folder', [['data.pkl', pickled]], 'a record data.pkl/data.pkl, got none'],
    [
      'records in two folders',
      [...torchRecords(pickled), ['other/data.pkl', pickled]],
      'all records in one folder, got 2 folders',
    ],
    ['no pickle', torchRecords(pickled).slice(1), 'a record archive/data.pkl, got none'],
    ['no storages', torchRecords(pickled, {}), 'tensor weight: expected a record archive/data/0, got none'],
    ['a big-endian machine', withRecord('archive/byteorder', 'big'), 'byteorder little, got "big"'],
    [
      'a byte order that nobody knows',
      withRecord('archive/byteorder', 'middle\n'),
      'byteorder little, got "middle\\n"',
    ],
    [
      'a byte order of a kilobyte',
      withRecord('archive/byteorder', 'x'.repeat(1000)),
      'record archive/byteorder to have at most 16 bytes, got 1000',
    ],
    [
      'a pickle of many megabytes',
      withRecord('archive/data.pkl', Buffer.alloc(16_000_001)),
      'record archive/data.pkl to have at most 16000000 bytes, got 16000001',
    ],
    ['an empty pickle', withRecord('archive/data.pkl', ''), 'data.pkl: byte 0: expected 1 more bytes, got 0'],
  ])('are refused: %s', (_, records, problem) => {
    expectInvalid(zipFile(records).bytes, problem);
  });

  test('a pickle that would run code is refused before any tensor is looked at', () => {
    const call = opcodes(global('posix.system'), text('true'), '\x85R');
    const bytes = torchArchive(pickle(stateDict({ weight: integer(1), harmless: call })));
    expectError(bytes, 'CHECKPOINT_PICKLE_REFUSED', ['data.pkl: byte ', 'got posix.system; nothing was run.']);
  });

  test('a folder in place of the file is refused', () => {
    const folder = dirname(torchArchivePath('small/views.bin'));
    expectCheckpointError(() => readTorchArchive(folder), 'CHECKPOINT_FILE_UNREADABLE', [folder, 'got a folder']);
  });
});
