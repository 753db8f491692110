import { CheckpointError } from '../errors.ts';
import { readBytes, withFile } from '../files/binary-file.ts';
import { describe, isJsonObject, type JsonObject } from '../files/json-file.ts';
import { parseJson } from '../files/json-text.ts';

/** Size in bits of one element of each safetensors dtype. Source: safetensors/src/tensor.rs, enum Dtype. */
const dtypeBits = {
  BOOL: 8,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;

export type Dtype = keyof typeof dtypeBits;

/** One tensor of a weights file. Its bytes are counted from the start of the file. */
export interface TensorRegion {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly path: string;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** A file begins with the length of its header, a little-endian number of so many bytes. */
const HEADER_LENGTH_BYTES = 8;
/** The limit of the reference implementation: safetensors/src/tensor.rs, MAX_HEADER_SIZE. */
const MAX_HEADER_BYTES = 100_000_000;
const CUT_OFF = ': the file may have been cut off. Download it again';

/**
 * Reads the table of tensors of a safetensors file, and none of the tensors.
 * Format: https://github.com/huggingface/safetensors#format
 * @throws CheckpointError `CHECKPOINT_WEIGHTS_INVALID` or `CHECKPOINT_FILE_UNREADABLE`; the message names file and tensor.
 */
export function readSafetensorsHeader(path: string): readonly TensorRegion[] {
  const { text, headerBytes, fileBytes } = readHeader(path);
  const header = parseHeader(path, text);
  const dataStart = HEADER_LENGTH_BYTES + headerBytes;
  const regions = Object.entries(header)
    .filter(([name]) => name !== '__metadata__')
    .map(([name, entry]) => readRegion(path, name, entry, dataStart, fileBytes));
  requireDisjoint(path, regions);
  return regions;
}

interface Header {
  readonly text: string;
  readonly headerBytes: number;
  readonly fileBytes: number;
}

function readHeader(path: string): Header {
  return withFile(path, (file) => {
    const declaredBytes = readBytes(file, 0, HEADER_LENGTH_BYTES).readBigUInt64LE();
    const limit = Math.min(MAX_HEADER_BYTES, file.sizeBytes - HEADER_LENGTH_BYTES);
    if (declaredBytes > BigInt(limit)) {
      throw invalidFile(
        path,
        `expected a header of at most ${limit} bytes in a file of ${file.sizeBytes}, got ${declaredBytes}${CUT_OFF}`,
      );
    }
    const header = readBytes(file, HEADER_LENGTH_BYTES, Number(declaredBytes));
    return { text: header.toString('utf8'), headerBytes: header.length, fileBytes: file.sizeBytes };
  });
}

function parseHeader(path: string, text: string): JsonObject {
  const header = parseJson(path, text, 'CHECKPOINT_WEIGHTS_INVALID', 'a JSON header');
  if (!isJsonObject(header))
    throw invalidFile(path, `expected the header to be a JSON object, got ${describe(header)}`);
  const duplicate = findDuplicateKey(text);
  if (duplicate !== undefined) throw invalidFile(path, `expected each tensor once, got ${duplicate} twice`);
  return header;
}

/** JSON.parse keeps the last of two equal keys without an error, so the outer object's keys are read from the text. */
function findDuplicateKey(text: string): string | undefined {
  const seen = new Set<string>();
  let depth = 0;
  for (const { 0: token } of text.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?|[{}[\]]/g)) {
    if (token === '{' || token === '[') depth += 1;
    else if (token === '}' || token === ']') depth -= 1;
    else if (depth === 1 && token.endsWith(':')) {
      const key = String(JSON.parse(token.slice(0, token.lastIndexOf('"') + 1)));
      if (seen.has(key)) return key;
      seen.add(key);
    }
  }
  return undefined;
}

function readRegion(path: string, name: string, entry: unknown, dataStart: number, fileBytes: number): TensorRegion {
  if (!isJsonObject(entry))
    throw invalidTensor(path, name, `an object with dtype, shape and data_offsets, got ${describe(entry)}`);
  const { dtype, shape, data_offsets: offsets } = entry;
  if (!isDtype(dtype))
    throw invalidTensor(path, name, `a dtype among ${Object.keys(dtypeBits).join(', ')}, got ${describe(dtype)}`);
  if (!isCounts(shape)) throw invalidTensor(path, name, `a shape of whole numbers, got ${quote(shape)}`);
  if (!isCounts(offsets) || offsets.length !== 2)
    throw invalidTensor(path, name, `two data_offsets, got ${quote(offsets)}`);
  const [begin = 0, end = 0] = offsets;
  const dataBytes = fileBytes - dataStart;
  if (begin > end || end > dataBytes) {
    const expected = `data_offsets within the file's ${dataBytes} bytes of data`;
    throw invalidTensor(path, name, `${expected}, got ${begin} to ${end}${CUT_OFF}`);
  }
  const region = { name, dtype, shape, path, offsetBytes: dataStart + begin, lengthBytes: end - begin };
  requireLength(region);
  return region;
}

/** @throws CheckpointError when a tensor has other bytes than its dtype and shape need. */
function requireLength({ path, name, dtype, shape, lengthBytes }: TensorRegion): void {
  const form = `${dtype} [${shape.join(', ')}]`;
  const elementCount = shape.reduce((product, size) => product * size, 1);
  if (!Number.isFinite(elementCount)) throw invalidTensor(path, name, `a shape that a file can have, got ${form}`);
  const expectedBytes = (elementCount * dtypeBits[dtype]) / 8;
  if (expectedBytes !== lengthBytes)
    throw invalidTensor(path, name, `${expectedBytes} bytes for ${form}, got ${lengthBytes}`);
}

/** Describes a list by its items, where `describe` tells only its length. */
function quote(value: unknown): string {
  return Array.isArray(value) ? JSON.stringify(value).slice(0, 80) : describe(value);
}

function isDtype(value: unknown): value is Dtype {
  return typeof value === 'string' && Object.hasOwn(dtypeBits, value);
}

function isCounts(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}

function requireDisjoint(path: string, regions: readonly TensorRegion[]): void {
  const ordered = regions.filter((region) => region.lengthBytes > 0).sort((a, b) => a.offsetBytes - b.offsetBytes);
  for (const [index, region] of ordered.entries()) {
    const next = ordered[index + 1];
    if (next !== undefined && region.offsetBytes + region.lengthBytes > next.offsetBytes) {
      throw invalidTensor(path, next.name, `bytes of its own, got bytes that ${region.name} has too`);
    }
  }
}

function invalidFile(path: string, problem: string): CheckpointError {
  return new CheckpointError('CHECKPOINT_WEIGHTS_INVALID', `${path}: ${problem}.`);
}

function invalidTensor(path: string, name: string, expected: string): CheckpointError {
  return new CheckpointError('CHECKPOINT_WEIGHTS_INVALID', `${path}: tensor ${name}: expected ${expected}.`);
}
