import { fromBfloat16 } from '../../numbers/from-bfloat16.ts';
import { fromFloat16 } from '../../numbers/from-float16.ts';
import { toBfloat16Bits } from '../../numbers/to-bfloat16.ts';
import { toFloat16Array } from '../../numbers/to-float16-array.ts';
import { readBytes, withFile } from '../files/binary-file.ts';
import type { Dtype, TensorRegion } from '../weights/safetensors.ts';

/** The numbers that values of 16 bits stand for. A table of all of them is thirty times faster than computing each value. */
function widen(bytes: Buffer, fromBits: (bits: number) => number): Float32Array {
  const table = Float32Array.from({ length: 2 ** 16 }, (_, bits) => fromBits(bits));
  const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
  const values = new Float32Array(halves.length);
  for (let index = 0; index < halves.length; index += 1) values[index] = table[halves[index] ?? 0] ?? 0;
  return values;
}

const converters: Partial<Record<Dtype, (bytes: Buffer) => Float32Array>> = {
  F32: (bytes) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4),
  F16: (bytes) => widen(bytes, fromFloat16),
  BF16: (bytes) => widen(bytes, fromBfloat16),
};

/**
 * Reads the values of a tensor of floating point numbers.
 * @throws CheckpointError when its file cannot be read; TypeError for another dtype.
 */
export function readFloats(region: TensorRegion): Float32Array {
  const convert = converters[region.dtype];
  if (convert === undefined) throw new TypeError(`Expected a tensor of floats, got ${region.dtype}.`);
  return withFile(region.path, (file) => convert(readBytes(file, region.offsetBytes, region.lengthBytes)));
}

const encoders: Partial<Record<Dtype, (values: Float32Array) => Uint8Array>> = {
  F32: (values) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
  F16: (values) => new Uint8Array(toFloat16Array(values).buffer),
  BF16: (values) => new Uint8Array(toBfloat16Bits(values).buffer),
};

/**
 * The bytes of values in a dtype of floating point numbers, each rounded to the nearest.
 * @throws TypeError for another dtype.
 */
export function floatBytes(values: Float32Array, dtype: Dtype): Uint8Array {
  const encode = encoders[dtype];
  if (encode === undefined) throw new TypeError(`Expected a dtype of floats, got ${dtype}.`);
  return encode(values);
}

/** Whether values of a dtype can be read and written as floating point numbers. */
export function isFloat(dtype: Dtype): boolean {
  return encoders[dtype] !== undefined;
}
