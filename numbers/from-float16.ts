const SUBNORMAL_STEP = 2 ** -24;

/**
 * The number that 16 bits of IEEE 754 binary16 stand for: one bit of sign, five of exponent, ten of fraction.
 * @param bits a whole number from 0 to 65535.
 */
export function fromFloat16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * SUBNORMAL_STEP;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
