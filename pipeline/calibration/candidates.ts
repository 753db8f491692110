import { readFloats } from '../../checkpoint/new-checkpoint/float-tensor.ts';
import { type CalibratedInput, stepsOf } from '../../checkpoint/quantize/calibration.ts';
import { findTensor, type Weights } from '../../checkpoint/weights/weights.ts';
import type { ProductInput } from '../../models/calibration/image-products.ts';
import type { Rounding } from '../../models/calibration/statistics.ts';

/** Parts of the range that pictures showed. What lies beyond a part is cut off, and its steps are finer. */
const PARTS_OF_RANGE = [1, 0.85, 0.7, 0.55, 0.4] as const;

/** How the rows of one product input look, by pictures: [width] each. */
export interface SeenRows {
  readonly smallest: Float32Array;
  readonly largest: Float32Array;
}

/** The ranges in which the rows of one product input may be rounded. */
export class Candidates {
  readonly roundings: readonly Rounding[];
  readonly #matrices: readonly string[];
  readonly #ranges: readonly Pick<CalibratedInput, 'smallest' | 'largest'>[];
  readonly #errors: number[];
  /** [width]: what a squared error of the feature becomes in the products. */
  readonly #squaredWeights: Float64Array;

  /** @throws CheckpointError when a matrix is missing or has another width. */
  constructor({ matrices }: ProductInput, { smallest, largest }: SeenRows, weights: Weights) {
    const [from, to] = [Math.min(0, ...smallest), Math.max(0, ...largest)];
    this.#matrices = matrices;
    this.#ranges = PARTS_OF_RANGE.map((part) => ({ smallest: from * part, largest: to * part }));
    this.#errors = this.#ranges.map(() => 0);
    this.#squaredWeights = squaredWeights(weights, matrices, smallest.length);
    this.roundings = this.#ranges.map(stepsOf);
  }

  /** Adds what one picture cost. `errorsOf` gives the squared errors [width] of one of the roundings. */
  add(errorsOf: (rounding: number) => Float32Array): void {
    for (const index of this.#errors.keys()) {
      const error = errorsOf(index).reduce(
        (sum, ofFeature, feature) => sum + ofFeature * (this.#squaredWeights[feature] ?? 0),
        0,
      );
      this.#errors[index] = (this.#errors[index] ?? 0) + error;
    }
  }

  best(): CalibratedInput {
    const index = this.#errors.indexOf(Math.min(...this.#errors));
    const { smallest, largest } = this.#ranges[index] ?? { smallest: 0, largest: 0 };
    return { matrices: this.#matrices, smallest, largest };
  }
}

/** The sum of squares of the weights that read each feature. */
function squaredWeights(weights: Weights, matrices: readonly string[], width: number): Float64Array {
  const squares = new Float64Array(width);
  for (const name of matrices) {
    const [outputSize = 0] = weights.regions.get(name)?.shape ?? [];
    const values = readFloats(findTensor(weights, [name], [outputSize, width]));
    for (let place = 0; place < values.length; place += 1)
      squares[place % width] = (squares[place % width] ?? 0) + (values[place] ?? 0) ** 2;
  }
  return squares;
}
