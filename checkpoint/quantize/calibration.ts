/** How rows are rounded that some products read, as calibration pictures showed them. */
export interface CalibratedInput {
  /** Names of the matrices that read these rows: `X.weight`. */
  readonly matrices: readonly string[];
  /** Values beyond these two go to the nearer one. Zero lies between them. */
  readonly smallest: number;
  readonly largest: number;
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
