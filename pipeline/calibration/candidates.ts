import { type CalibratedInput, stepsOf } from '../../checkpoint/quantize/calibration.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import type { ProductInput } from '../../models/calibration/image-products.ts';
import type { RoundedRows } from '../../models/calibration/statistics.ts';
import { errorOfRows, errorOfWeights, type FeatureWeights, featureWeights, smoothingFactors } from './smoothing.ts';

/** Parts of the range that pictures showed. What lies beyond a part is cut off, and its steps are finer. */
const PARTS_OF_RANGE = [1, 0.85, 0.7, 0.55, 0.4] as const;
/** Powers of the factors of SmoothQuant. It helps where few features are large, and costs exactness of weights elsewhere. */
const STRENGTHS = [0, 0.5, 1] as const;

/** What pictures showed of the rows of one product input. All are [width]. */
export interface SeenRows {
  readonly smallest: Float32Array;
  readonly largest: Float32Array;
  /** The sum of squares. */
  readonly squares: Float64Array;
}

/** A way to round rows, and what it costs: the squared error of all products that read them. */
interface Candidate extends RoundedRows {
  readonly ranges: readonly Pick<CalibratedInput, 'smallest' | 'largest'>[];
  /** One for each range. The error of the weights is in them from the beginning. */
  readonly errors: number[];
}

/** The ways in which the rows of one product input may be rounded. */
export class Candidates {
  readonly #input: ProductInput;
  readonly #squares: Float64Array;
  readonly candidates: readonly Candidate[];

  /** @throws CheckpointError when a matrix is missing or has another width. */
  constructor(input: ProductInput, seen: SeenRows, weights: Weights) {
    this.#input = input;
    const ofFeatures = featureWeights(weights, input.matrices, seen.smallest.length);
    this.#squares = ofFeatures.squares;
    const strengths = input.norm === undefined ? [0] : STRENGTHS;
    this.candidates = strengths.map((strength) => candidateOf(seen, ofFeatures, strength));
  }

  /** Adds what one picture cost. `errorsOf` gives the squared errors [width] of a candidate and one of its ranges. */
  add(errorsOf: (candidate: number, range: number) => Float32Array): void {
    for (const [number, { factors, errors }] of this.candidates.entries())
      for (const range of errors.keys())
        errors[range] =
          (errors[range] ?? 0) + errorOfRows({ squares: this.#squares }, errorsOf(number, range), factors);
  }

  best(): CalibratedInput {
    const { norm, matrices } = this.#input;
    const all = this.candidates.flatMap(({ ranges, errors, factors }) =>
      ranges.map((range, index) => ({ ...range, factors, error: errors[index] ?? Number.POSITIVE_INFINITY })),
    );
    const { smallest, largest, factors } = all.reduce((best, each) => (each.error < best.error ? each : best));
    if (norm === undefined || factors === undefined) return { matrices, smallest, largest };
    return { matrices, smallest, largest, smoothing: { norm, factors } };
  }
}

function candidateOf(seen: SeenRows, weights: FeatureWeights, strength: number): Candidate {
  const magnitudes = seen.smallest.map((value, feature) => Math.max(-value, seen.largest[feature] ?? 0));
  const factors = strength === 0 ? undefined : smoothingFactors(magnitudes, weights, strength);
  const least = (values: Float32Array) =>
    values.reduce((before, value, feature) => Math.min(before, value / (factors?.[feature] ?? 1)), 0);
  const [from, to] = [least(seen.smallest), -least(seen.largest.map((value) => -value))];
  const ranges = PARTS_OF_RANGE.map((part) => ({ smallest: from * part, largest: to * part }));
  const error = errorOfWeights(weights, seen.squares, factors);
  return {
    ...(factors === undefined ? {} : { factors }),
    ranges,
    roundings: ranges.map(stepsOf),
    errors: ranges.map(() => error),
  };
}
