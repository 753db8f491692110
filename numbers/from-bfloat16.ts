/**
 * The number that 16 bits of bfloat16 stand for: they are the upper half of a float32.
 * @param bits a whole number from 0 to 65535.
 */
export function fromBfloat16(bits: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint16(0, bits); // Big-endian: the upper half comes first.
  return view.getFloat32(0);
}
