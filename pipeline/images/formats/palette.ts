/** How many indices of a byte there are. */
export const INDICES = 256;

/**
 * A palette (red, green, blue of each colour) with a colour for every index. As in Pillow, indices that the file does not
 * name are black, or grey where the named ones are grey of their own level: such an image counts as grey.
 */
export function wholePalette(named: Uint8Array): Uint8Array {
  const greys = Uint8Array.from({ length: INDICES * 3 }, (_, at) => Math.floor(at / 3));
  const isGrey = named.every((value, at) => value === greys[at]);
  const whole = isGrey ? greys : new Uint8Array(INDICES * 3);
  whole.set(named.subarray(0, INDICES * 3));
  return whole;
}
