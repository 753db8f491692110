/** The parts of a file, as far as they decide how long a decoder works. */
export interface ImageStructure {
  /** The file, or a copy of its first frame alone. It has the pixels that a decoder would show of the first frame. */
  readonly bytes: Uint8Array;
  /** How often a decoder goes through the pixels: the scans of a JPEG. */
  readonly passes: number;
  /** Whether the parts that make the pixels may hold more work than the size of the image tells. */
  readonly isUnusual: boolean;
}

/** The structure of a file whose size says how long it takes. */
export function plainStructure(bytes: Uint8Array): ImageStructure {
  return { bytes, passes: 1, isUnusual: false };
}
