/** Magnitudes from here on are nearer to infinity than to 65504, the largest float16. */
const ROUNDS_TO_INFINITY = 65_520;
const INFINITY_BITS = 0x7c00;
const NOT_A_NUMBER_BITS = 0x7e00;
const SIGN_BIT = 0x8000;
const FRACTION_BITS = 10;
const SMALLEST_EXPONENT = -14;

/**
 * The bits of the float16 nearest to `value`; of two that are equally near, the one whose last bit is 0. Magnitudes
 * from 65520 on become infinity, those below 2 ** -14 subnormal, those up to 2 ** -25 zero. The sign is kept.
 * Source: IEEE 754-2019, binary16, roundTiesToEven.
 */
export function toFloat16Bits(value: number): number {
  if (Number.isNaN(value)) return NOT_A_NUMBER_BITS;
  const sign = value < 0 || Object.is(value, -0) ? SIGN_BIT : 0;
  const magnitude = Math.abs(value);
  if (magnitude >= ROUNDS_TO_INFINITY) return sign | INFINITY_BITS;
  const exponent = Math.max(SMALLEST_EXPONENT, Math.floor(Math.log2(magnitude)));
  const steps = roundToEven(magnitude / 2 ** (exponent - FRACTION_BITS));
  // A normal number has its leading 1 among the steps, and it counts as one more in the exponent; a carry does too.
  return sign | (((exponent - SMALLEST_EXPONENT) << FRACTION_BITS) + steps);
}

function roundToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}
