import { CheckpointError } from '../errors.ts';
import { readBytes, withFile } from '../files/binary-file.ts';
import { type KnownGlobals, readPickle } from './pickle.ts';
import { describePickleValue, isKind, type PickleValue } from './pickle-value.ts';
import type { Dtype, TensorRegion } from './safetensors.ts';
import { skippedGlobals } from './skipped-globals.ts';
import { findStateDict } from './state-dict.ts';
import { readRecord, readZipDirectory, type ZipRecord } from './zip-directory.ts';

/** Source: torch/storage.py, `_storage_type_to_dtype_map`. Complex and quantized storages are not among them. */
const storageTypes: ReadonlyMap<string, { readonly dtype: Dtype; readonly elementBytes: number }> = new Map([
  ['torch.FloatStorage', { dtype: 'F32', elementBytes: 4 }],
  ['torch.HalfStorage', { dtype: 'F16', elementBytes: 2 }],
  ['torch.BFloat16Storage', { dtype: 'BF16', elementBytes: 2 }],
  ['torch.DoubleStorage', { dtype: 'F64', elementBytes: 8 }],
  ['torch.LongStorage', { dtype: 'I64', elementBytes: 8 }],
  ['torch.IntStorage', { dtype: 'I32', elementBytes: 4 }],
  ['torch.ShortStorage', { dtype: 'I16', elementBytes: 2 }],
  ['torch.CharStorage', { dtype: 'I8', elementBytes: 1 }],
  ['torch.ByteStorage', { dtype: 'U8', elementBytes: 1 }],
  ['torch.BoolStorage', { dtype: 'BOOL', elementBytes: 1 }],
] as const);

const REBUILD_TENSOR = 'torch._utils._rebuild_tensor_v2';
const REBUILD_PARAMETER = 'torch._utils._rebuild_parameter';
const knownGlobals: KnownGlobals = {
  classes: new Set(storageTypes.keys()),
  functions: new Set([REBUILD_TENSOR, REBUILD_PARAMETER]),
  skipped: skippedGlobals,
};

/** The start of files before `torch.save` wrote zip archives: a pickle of MAGIC_NUMBER of torch/serialization.py. */
const LEGACY_START = Buffer.from('80028a0a6cfc9c46f9206aa85019', 'hex');
/** BLIP's pickle has a fifth of a megabyte. */
const MAX_PICKLE_BYTES = 16_000_000;
const MAX_BYTE_ORDER_BYTES = 16;
/** Weights have at most four axes; PyTorch computes with up to 64. */
const MAX_AXES = 64;

/**
 * Reads the table of tensors of a state dict that `torch.save` wrote (since PyTorch 1.6). Reads none of the tensors, and
 * runs no code of the file. Names that share a storage share its bytes.
 * Format: torch/serialization.py, `_save`; https://docs.pytorch.org/docs/stable/notes/serialization.html
 * @throws CheckpointError `CHECKPOINT_WEIGHTS_INVALID`, `CHECKPOINT_PICKLE_REFUSED` or `CHECKPOINT_FILE_UNREADABLE`; the
 * message names file and tensor.
 */
export function readTorchArchive(path: string): readonly TensorRegion[] {
  refuseLegacyFormat(path);
  const archive = openArchive(path);
  requireLittleEndian(archive);
  const pickle = readRecord(path, findRecord(archive, 'data.pkl'), MAX_PICKLE_BYTES);
  const stateDict = findStateDict(path, readPickle(`${path}: data.pkl`, pickle, knownGlobals), isTensor);
  return [...stateDict.entries].map(([name, value]) => readRegion(archive, name, value));
}

function isTensor(value: PickleValue): boolean {
  return isKind(value, 'call'); // No other function is known.
}

interface Archive {
  readonly path: string;
  /** The folder in the archive that has all records: `archive`, or the name of the file at the time it was saved. */
  readonly root: string;
  readonly records: ReadonlyMap<string, ZipRecord>;
}

function refuseLegacyFormat(path: string): void {
  const start = withFile(path, (file) => readBytes(file, 0, Math.min(file.sizeBytes, LEGACY_START.length)));
  if (start.equals(LEGACY_START)) {
    throw invalidFile(
      path,
      'a zip archive, as torch.save writes since PyTorch 1.6, got the format before it; ' +
        'torch.save(torch.load(path, weights_only=True), path) converts it',
    );
  }
}

function openArchive(path: string): Archive {
  const records = readZipDirectory(path);
  const roots = new Set([...records.keys()].map((name) => name.split('/')[0]));
  const [root = ''] = roots;
  if (roots.size !== 1) throw invalidFile(path, `all records in one folder, got ${roots.size} folders`);
  return { path, root, records };
}

function findRecord({ path, root, records }: Archive, name: string): ZipRecord {
  const record = records.get(`${root}/${name}`);
  if (record === undefined) throw invalidFile(path, `a record ${root}/${name}, got none`);
  return record;
}

/** Archives of PyTorch before 2.1 have no byte order. Nearly all were written by little-endian machines. */
function requireLittleEndian({ path, root, records }: Archive): void {
  const record = records.get(`${root}/byteorder`);
  if (record === undefined) return;
  const order = readRecord(path, record, MAX_BYTE_ORDER_BYTES).toString('latin1');
  if (order !== 'little') throw invalidFile(path, `byteorder little, got ${JSON.stringify(order)}`);
}

function readRegion(archive: Archive, key: string | number, value: PickleValue): TensorRegion {
  const { path } = archive;
  const name = String(key);
  const fail = (expected: string) => invalidTensor(path, name, expected);
  if (typeof key !== 'string') throw fail(`a name, got the number ${key}`);
  const tensor = readTensor(fail, value);
  const { dtype, elementBytes, elementCount, record } = readStorage(archive, fail, tensor.storage);
  const layout = readLayout(fail, tensor);
  const end = layout.offset + layout.elementCount;
  if (end > elementCount) {
    const extent = `offset ${layout.offset} and shape [${layout.shape.join(', ')}]`;
    throw fail(`a storage of at least ${end} elements for ${extent}, got ${elementCount}`);
  }
  const offsetBytes = record.offsetBytes + layout.offset * elementBytes;
  return { name, dtype, shape: layout.shape, path, offsetBytes, lengthBytes: layout.elementCount * elementBytes };
}

/** Makes the error about one tensor. */
type Fail = (expected: string) => CheckpointError;

interface TensorParts {
  readonly storage: PickleValue;
  readonly offset: PickleValue;
  readonly shape: PickleValue;
  readonly strides: PickleValue;
}

/** Arguments of `_rebuild_tensor_v2` and `_rebuild_parameter`: torch/_utils.py. */
function readTensor(fail: Fail, value: PickleValue): TensorParts {
  const inner = isKind(value, 'call') && value.name === REBUILD_PARAMETER ? (value.arguments[0] ?? null) : value;
  if (!isKind(inner, 'call') || inner.name !== REBUILD_TENSOR)
    throw fail(`a tensor, got ${describePickleValue(inner)}`);
  const [storage = null, offset = null, shape = null, strides = null, , , metadata = null] = inner.arguments;
  if (inner.arguments.length < 6 || inner.arguments.length > 7)
    throw fail(`six or seven arguments of ${REBUILD_TENSOR}, got ${inner.arguments.length}`);
  if (metadata !== null && !(isKind(metadata, 'dict') && metadata.entries.size === 0))
    throw fail('a tensor as it lies in its storage, got one to be conjugated or negated');
  return { storage, offset, shape, strides };
}

interface Storage {
  readonly dtype: Dtype;
  readonly elementBytes: number;
  readonly elementCount: number;
  readonly record: ZipRecord;
}

/**
 * Reads a persistent id: `('storage', class, key, location, element count)`. The location is the device of the tensor when
 * it was saved, such as `cuda:0`.
 */
function readStorage(archive: Archive, fail: Fail, value: PickleValue): Storage {
  const id = isKind(value, 'reference') && isKind(value.id, 'tuple') ? value.id.items : [];
  const [tag = null, storageClass = null, key = null, , count = null] = id;
  const type = isKind(storageClass, 'global') ? storageTypes.get(storageClass.name) : undefined;
  if (id.length !== 5 || tag !== 'storage' || type === undefined || typeof key !== 'string')
    throw fail(`a storage with class, key, location and size, got ${describePickleValue(value)}`);
  const elementCount = readCount(fail, 'storage size', count);
  const record = archive.records.get(`${archive.root}/data/${key}`);
  if (record === undefined) throw fail(`a record ${archive.root}/data/${key}, got none`);
  if (elementCount * type.elementBytes > record.lengthBytes) {
    const expected = `${elementCount * type.elementBytes} bytes of storage in ${record.name}`;
    throw fail(`${expected}, got ${record.lengthBytes}`);
  }
  return { ...type, elementCount, record };
}

interface Layout {
  readonly offset: number;
  readonly shape: readonly number[];
  readonly elementCount: number;
}

function readLayout(fail: Fail, tensor: TensorParts): Layout {
  const offset = readCount(fail, 'storage offset', tensor.offset);
  const shape = readCounts(fail, 'shape', tensor.shape);
  requireContiguous(fail, shape, readCounts(fail, 'strides', tensor.strides));
  const elementCount = shape.reduce((product, size) => product * size, 1);
  if (!Number.isSafeInteger(elementCount)) throw fail(`a shape that a file can have, got [${shape.join(', ')}]`);
  return { offset, shape, elementCount };
}

/**
 * Graphs use the bytes as they lie, so they must lie in the order of the shape. As in PyTorch's `is_contiguous`, the
 * strides of empty tensors and of axes of size 1 may be any.
 */
function requireContiguous(fail: Fail, shape: readonly number[], strides: readonly number[]): void {
  const expected = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, size) => product * size, 1));
  const isContiguous = shape.every((size, axis) => size === 1 || strides[axis] === expected[axis]);
  if (strides.length !== shape.length || !(isContiguous || shape.includes(0))) {
    const lists = `strides [${expected.join(', ')}], got [${strides.join(', ')}]`;
    throw fail(`a contiguous tensor, with ${lists}; save tensor.contiguous() instead`);
  }
}

function readCounts(fail: Fail, label: string, value: PickleValue): readonly number[] {
  if (!isKind(value, 'tuple')) throw fail(`a tuple as ${label}, got ${describePickleValue(value)}`);
  if (value.items.length > MAX_AXES) throw fail(`at most ${MAX_AXES} axes, got ${value.items.length}`);
  return value.items.map((item) => readCount(fail, label, item));
}

function readCount(fail: Fail, label: string, value: PickleValue): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw fail(`a whole number of at least 0 in its ${label}, got ${describePickleValue(value)}`);
}

function invalidFile(path: string, expected: string): CheckpointError {
  return new CheckpointError('CHECKPOINT_WEIGHTS_INVALID', `${path}: expected ${expected}.`);
}

function invalidTensor(path: string, name: string, expected: string): CheckpointError {
  return new CheckpointError('CHECKPOINT_WEIGHTS_INVALID', `${path}: tensor ${name}: expected ${expected}.`);
}
