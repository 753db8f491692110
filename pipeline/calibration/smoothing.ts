import { readFloats } from '../../checkpoint/new-checkpoint/float-tensor.ts';
import { findTensor, type Weights } from '../../checkpoint/weights/weights.ts';

/** What the matrices that read the same rows make of each feature. All are [width]. */
export interface FeatureWeights {
  /** The largest magnitude of a weight. */
  readonly largest: Float32Array;
  /** The sum of squares of the weights: what a squared error of the feature becomes in the products. */
  readonly squares: Float64Array;
}

/** @throws CheckpointError when a matrix is missing or has another width. */
export function featureWeights(weights: Weights, matrices: readonly string[], width: number): FeatureWeights {
  const largest = new Float32Array(width);
  const squares = new Float64Array(width);
  for (const name of matrices) {
    const [outputSize = 0] = weights.regions.get(name)?.shape ?? [];
    const values = readFloats(findTensor(weights, [name], [outputSize, width]));
    for (let place = 0; place < values.length; place += 1) {
      const feature = place % width;
      const magnitude = Math.abs(values[place] ?? 0);
      largest[feature] = Math.max(largest[feature] ?? 0, magnitude);
      squares[feature] = (squares[feature] ?? 0) + magnitude * magnitude;
    }
  }
  return { largest, squares };
}

/** Features and weights smaller than this count as this large. */
const SMALLEST = 1e-5;

/**
 * The factors of SmoothQuant with its alpha of one half: the range of a feature, divided by its factor, then equals the
 * range of the weights that read it, multiplied by it. Source: arXiv 2211.10438, equation 4.
 * @param magnitudes [width]: the largest magnitude of each feature.
 */
export function smoothingFactors(magnitudes: Float32Array, { largest }: FeatureWeights): Float32Array {
  return magnitudes.map((magnitude, feature) =>
    Math.sqrt(Math.max(magnitude, SMALLEST) / Math.max(largest[feature] ?? 0, SMALLEST)),
  );
}
