import { readBytes, withFile } from '../binary-file.ts';
import type { Dtype, TensorRegion } from '../safetensors.ts';

const SUBNORMAL_STEP = 2 ** -24;

/** IEEE 754 binary16: one bit of sign, five of exponent, ten of fraction. */
function fromFloat16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const [exponent, fraction] = [(bits >> 10) & 0x1f, bits & 0x3ff];
  if (exponent === 0) return sign * fraction * SUBNORMAL_STEP;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const widen: Partial<Record<Dtype, (bytes: Buffer) => Float32Array>> = {
  F32: (bytes) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4),
  F16: (bytes) => Float32Array.from(new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2), fromFloat16),
  // bfloat16 is the upper half of a float32.
  BF16: (bytes) => {
    const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
    return new Float32Array(Uint32Array.from(halves, (bits) => bits << 16).buffer);
  },
};

/**
 * The values of a tensor of floating point numbers.
 * @throws CheckpointError when its file cannot be read; TypeError for another dtype.
 */
export function readFloats(region: TensorRegion): Float32Array {
  const toFloats = widen[region.dtype];
  if (toFloats === undefined) throw new TypeError(`Expected a tensor of floats, got ${region.dtype}.`);
  return withFile(region.path, (file) => toFloats(readBytes(file, region.offsetBytes, region.lengthBytes)));
}
