const NOT_A_NUMBER_BITS = 0x7fc0;

/**
 * The bits of the bfloat16 nearest to each float32; of two that are equally near, the one whose last bit is 0. Large
 * magnitudes become infinity.
 */
export function toBfloat16Bits(values: Float32Array): Uint16Array {
  const wholes = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const bits = new Uint16Array(values.length);
  for (let index = 0; index < values.length; index += 1) {
    const whole = wholes[index] ?? 0;
    const isOdd = (whole >>> 16) & 1;
    bits[index] = Number.isNaN(values[index]) ? NOT_A_NUMBER_BITS : (whole + 0x7fff + isOdd) >>> 16;
  }
  return bits;
}
