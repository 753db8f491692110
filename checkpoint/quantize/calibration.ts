/**
 * Rows that some products read, as calibration pictures showed them: how they are rounded, and what the LayerNorm before
 * is divided by.
 */
export interface CalibratedInput {
  /** Names of the matrices that read these rows: `X.weight`. */
  readonly matrices: readonly string[];
  /** Values beyond these two go to the nearer one. Zero lies between them. */
  readonly smallest: number;
  readonly largest: number;
  readonly smoothing?: Smoothing;
}

/**
 * Divides the outputs of a LayerNorm, and multiplies the inputs of the matrices that read them, which cancels out. Features
 * that are far larger than the others then need no steps that are too large for the others.
 * Source: SmoothQuant (arXiv 2211.10438, section 4).
 */
export interface Smoothing {
  /** The module of the LayerNorm, whose weight and bias are divided. */
  readonly norm: string;
  /** [in], above zero. */
  readonly factors: Float32Array;
}

export interface Calibration {
  readonly inputs: readonly CalibratedInput[];
  readonly pictureCount: number;
}

/** The largest of a byte's 256 values. */
const LARGEST_BYTE = 255;

/** The steps that rows are rounded in: (x / scale + zeroPoint) is a byte. */
export function stepsOf({ smallest, largest }: Pick<CalibratedInput, 'smallest' | 'largest'>): {
  readonly scale: number;
  readonly zeroPoint: number;
} {
  const [from, to] = [Math.min(smallest, 0), Math.max(largest, 0)];
  const scale = Math.fround(to > from ? (to - from) / LARGEST_BYTE : 1);
  return { scale, zeroPoint: Math.round((0 - from) / scale) };
}
