import { fromBfloat16 } from '../numbers/from-bfloat16.ts';
import { fromFloat16 } from '../numbers/from-float16.ts';
import { HandlerError } from './errors.ts';
import type { NamedTensor } from './named-tensor.ts';
import type { InputField } from './schema.ts';

/**
 * Tensors as bytes: little-endian values in a row. Each element of BYTES follows its length (uint32).
 * Source: triton-inference-server/server, docs/protocol/extension_binary_data.md.
 */

interface FixedWidth {
  readonly bytes: number;
  readonly read: (view: DataView, offset: number) => number | boolean;
}

const littleEndian = true;

const fixedWidths: Readonly<Record<string, FixedWidth>> = {
  BOOL: { bytes: 1, read: (view, offset) => view.getUint8(offset) !== 0 },
  UINT8: { bytes: 1, read: (view, offset) => view.getUint8(offset) },
  UINT16: { bytes: 2, read: (view, offset) => view.getUint16(offset, littleEndian) },
  UINT32: { bytes: 4, read: (view, offset) => view.getUint32(offset, littleEndian) },
  UINT64: { bytes: 8, read: (view, offset) => Number(view.getBigUint64(offset, littleEndian)) },
  INT8: { bytes: 1, read: (view, offset) => view.getInt8(offset) },
  INT16: { bytes: 2, read: (view, offset) => view.getInt16(offset, littleEndian) },
  INT32: { bytes: 4, read: (view, offset) => view.getInt32(offset, littleEndian) },
  INT64: { bytes: 8, read: (view, offset) => Number(view.getBigInt64(offset, littleEndian)) },
  FP16: { bytes: 2, read: (view, offset) => fromFloat16(view.getUint16(offset, littleEndian)) },
  BF16: { bytes: 2, read: (view, offset) => fromBfloat16(view.getUint16(offset, littleEndian)) },
  FP32: { bytes: 4, read: (view, offset) => view.getFloat32(offset, littleEndian) },
  FP64: { bytes: 8, read: (view, offset) => view.getFloat64(offset, littleEndian) },
};

const LENGTH_BYTES = 4;

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** The beginning of an element, which tells text from a file: all image formats have bytes there that text has not. */
const SNIFFED_BYTES = 64;

/**
 * Reads the values of a request's tensor, in row-major order, as `textElement` does where they are BYTES.
 * @param maxValues the most values to read, because they take many times the memory of their bytes.
 * @throws HandlerError `INVALID_INPUT` when the bytes are not whole values of the datatype.
 */
export function decodeTensor(
  { name, datatype }: { readonly name: string; readonly datatype: string },
  field: Pick<InputField, 'acceptsBytes'>,
  bytes: Uint8Array,
  maxValues: number,
): readonly (string | number | boolean | Uint8Array)[] {
  if (datatype === 'BYTES' || datatype === 'STRING')
    return splitElements(name, bytes, maxValues).map((element) => textElement(element, field));
  const width = Object.hasOwn(fixedWidths, datatype) ? fixedWidths[datatype] : undefined;
  if (width === undefined || bytes.length % width.bytes !== 0) {
    const expected = width === undefined ? 'a datatype of the protocol' : `a multiple of ${width.bytes} bytes`;
    throw new HandlerError('INVALID_INPUT', `Expected input ${name} to have ${expected}, got ${bytes.length} bytes.`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const length = Math.min(bytes.length / width.bytes, maxValues);
  return Array.from({ length }, (_, index) => width.read(view, index * width.bytes));
}

/** Writes the values of an answer as bytes. */
export function encodeTensor({ datatype, data }: NamedTensor): Uint8Array {
  switch (datatype) {
    case 'BYTES':
      return Buffer.concat(data.flatMap((value) => lengthPrefixed(String(value))));
    case 'INT64':
      return new Uint8Array(BigInt64Array.from(data.map(BigInt)).buffer);
    case 'FP32':
      return new Uint8Array(Float32Array.from(data.map(Number)).buffer);
  }
}

/**
 * An element of BYTES as text in UTF-8. It stays bytes where it is not: an input that takes files has a file then, and any
 * other input is refused when it is checked. A file may begin as text, but not without a byte that text lacks.
 */
export function textElement(
  element: Uint8Array,
  { acceptsBytes }: Pick<InputField, 'acceptsBytes'>,
): string | Uint8Array {
  if (acceptsBytes && !beginsAsText(element)) return element;
  try {
    return utf8.decode(element);
  } catch {
    return element;
  }
}

/** NUL bytes at the end are those that texts of C have there. */
function beginsAsText(element: Uint8Array): boolean {
  const end = element.length <= SNIFFED_BYTES ? lengthWithoutNuls(element) : SNIFFED_BYTES;
  return element.subarray(0, end).every((byte) => byte >= 0x20 || isSpace(byte));
}

function lengthWithoutNuls(element: Uint8Array): number {
  return element.findLastIndex((byte) => byte !== 0) + 1;
}

function isSpace(byte: number): boolean {
  return byte === 0x09 || byte === 0x0a || byte === 0x0d;
}

function splitElements(name: string, bytes: Uint8Array, maxElements: number): readonly Uint8Array[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const elements: Uint8Array[] = [];
  let offset = 0;
  while (offset < bytes.length && elements.length < maxElements) {
    const length = offset + LENGTH_BYTES <= bytes.length ? view.getUint32(offset, littleEndian) : Number.NaN;
    const end = offset + LENGTH_BYTES + length;
    if (!(end <= bytes.length)) {
      const expected = 'elements that each stand behind their length (4 bytes, little-endian)';
      throw new HandlerError('INVALID_INPUT', `Expected input ${name} to have ${expected}, got one that is cut short.`);
    }
    elements.push(bytes.subarray(offset + LENGTH_BYTES, end));
    offset = end;
  }
  return elements;
}

function lengthPrefixed(text: string): readonly Buffer[] {
  const element = Buffer.from(text, 'utf8');
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32LE(element.length);
  return [length, element];
}
