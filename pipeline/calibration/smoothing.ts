import { readFloats } from '../../checkpoint/new-checkpoint/float-tensor.ts';
import { MAX_QUANTIZED } from '../../checkpoint/weights/int8-format.ts';
import { findTensor, type Weights } from '../../checkpoint/weights/weights.ts';

/** The matrices that read the same rows: [outputs, width] together, and what they make of each feature, [width]. */
export interface FeatureWeights {
  readonly values: Float32Array;
  /** The largest magnitude of a weight. */
  readonly largest: Float32Array;
  /** The sum of squares of the weights: what a squared error of the feature becomes in the products. */
  readonly squares: Float64Array;
}

/** @throws CheckpointError when a matrix is missing or has another width. */
export function featureWeights(weights: Weights, matrices: readonly string[], width: number): FeatureWeights {
  const parts = matrices.map((name) => {
    const [outputSize = 0] = weights.regions.get(name)?.shape ?? [];
    return readFloats(findTensor(weights, [name], [outputSize, width]));
  });
  const values = new Float32Array(parts.reduce((length, part) => length + part.length, 0));
  let end = 0;
  for (const part of parts) {
    values.set(part, end);
    end += part.length;
  }
  return { values, ...sumsOf(values, width) };
}

function sumsOf(values: Float32Array, width: number): Omit<FeatureWeights, 'values'> {
  const largest = new Float32Array(width);
  const squares = new Float64Array(width);
  for (let place = 0; place < values.length; place += 1) {
    const feature = place % width;
    const magnitude = Math.abs(values[place] ?? 0);
    largest[feature] = Math.max(largest[feature] ?? 0, magnitude);
    squares[feature] = (squares[feature] ?? 0) + magnitude * magnitude;
  }
  return { largest, squares };
}

/** Features and weights smaller than this count as this large. */
const SMALLEST = 1e-5;

/**
 * The factors of SmoothQuant with its alpha of one half: the range of a feature, divided by its factor, then equals the
 * range of the weights that read it, multiplied by it. Source: arXiv 2211.10438, equation 4.
 * @param magnitudes [width]: the largest magnitude of each feature.
 * @param strength a power of the factors: 0 leaves everything as it is.
 */
export function smoothingFactors(
  magnitudes: Float32Array,
  { largest }: FeatureWeights,
  strength: number,
): Float32Array {
  return magnitudes.map((magnitude, feature) => {
    const ratio = Math.max(magnitude, SMALLEST) / Math.max(largest[feature] ?? 0, SMALLEST);
    return ratio ** (strength / 2);
  });
}

/**
 * The squared error of the products that comes of rounding the weights: a value is off by a twelfth of its squared step
 * on average.
 * @param squares [width]: the sum of squares of each feature.
 * @param factors [width]: what the features are divided by, and the weights multiplied by.
 */
export function errorOfWeights(
  { values }: FeatureWeights,
  squares: Float64Array,
  factors: Float32Array | undefined,
): number {
  const width = squares.length;
  const ofFeatures = squares.reduce((sum, square, feature) => sum + square / (factors?.[feature] ?? 1) ** 2, 0);
  let squaredSteps = 0;
  for (let row = 0; row < values.length; row += width) {
    let largest = 0;
    for (let feature = 0; feature < width; feature += 1)
      largest = Math.max(largest, Math.abs(values[row + feature] ?? 0) * (factors?.[feature] ?? 1));
    squaredSteps += (largest / MAX_QUANTIZED) ** 2;
  }
  return (squaredSteps / 12) * ofFeatures;
}

/** The squared error of the products that comes of rounding the rows. `errors` [width] are the squared ones of the rows. */
export function errorOfRows(
  { squares }: Pick<FeatureWeights, 'squares'>,
  errors: Float32Array,
  factors: Float32Array | undefined,
): number {
  return errors.reduce(
    (sum, error, feature) => sum + error * (factors?.[feature] ?? 1) ** 2 * (squares[feature] ?? 0),
    0,
  );
}
