import { readBytes, withFile } from '../files/binary-file.ts';
import type { Dtype, TensorRegion } from '../weights/safetensors.ts';

const SUBNORMAL_STEP = 2 ** -24;

/** IEEE 754 binary16: one bit of sign, five of exponent, ten of fraction. */
function fromFloat16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const [exponent, fraction] = [(bits >> 10) & 0x1f, bits & 0x3ff];
  if (exponent === 0) return sign * fraction * SUBNORMAL_STEP;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The upper half of a float32. */
function fromBfloat16(bits: number): number {
  return new Float32Array(Uint32Array.of(bits << 16).buffer)[0] ?? Number.NaN;
}

/** Each value of 16 bits as what it stands for: a look at a table is thirty times faster than working it out. */
function widened(bytes: Buffer, meaning: (bits: number) => number): Float32Array {
  const table = Float32Array.from({ length: 2 ** 16 }, (_, bits) => meaning(bits));
  const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
  const values = new Float32Array(halves.length);
  for (let index = 0; index < halves.length; index += 1) values[index] = table[halves[index] ?? 0] ?? 0;
  return values;
}

const toFloats: Partial<Record<Dtype, (bytes: Buffer) => Float32Array>> = {
  F32: (bytes) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4),
  F16: (bytes) => widened(bytes, fromFloat16),
  BF16: (bytes) => widened(bytes, fromBfloat16),
};

/**
 * The values of a tensor of floating point numbers.
 * @throws CheckpointError when its file cannot be read; TypeError for another dtype.
 */
export function readFloats(region: TensorRegion): Float32Array {
  const convert = toFloats[region.dtype];
  if (convert === undefined) throw new TypeError(`Expected a tensor of floats, got ${region.dtype}.`);
  return withFile(region.path, (file) => convert(readBytes(file, region.offsetBytes, region.lengthBytes)));
}
