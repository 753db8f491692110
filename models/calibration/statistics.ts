import type { Checkpoint } from '../../checkpoint/checkpoint.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import { addInitializer, addOutput, type Graph } from '../../onnx/graph.ts';
import { createScope, type Scope } from '../../onnx/scope.ts';
import { imageProducts, type ProductInput } from './image-products.ts';

/** Graphs that tell how the rows look that products of integers will read. Their outputs do not grow with the images. */

export interface StatisticsGraph {
  readonly graph: Graph;
  readonly inputs: readonly ProductInput[];
}

/**
 * The range of each feature. Outputs for each product input, float32 [width]: `smallest.N`, `largest.N`, and `squares.N`,
 * the sum of its squares.
 * @throws CheckpointError when a tensor is missing or has another shape than the configuration says.
 */
export function rangesGraph(checkpoint: Checkpoint, weights: Weights): StatisticsGraph {
  const { graph, inputs } = imageProducts(checkpoint, weights);
  for (const [index, { value }] of inputs.entries()) {
    const { op } = createScope(graph, `ranges.${index}`);
    addOutput(graph, `smallest.${index}`, op.reduceMin(value, 0));
    addOutput(graph, `largest.${index}`, op.reduceMax(value, 0));
    addOutput(graph, `squares.${index}`, op.reduceSum(op.mul(value, value), 0));
  }
  return { graph, inputs };
}

/** Steps of rows: (x / factors / scale + zeroPoint) is a byte. */
export interface Rounding {
  readonly scale: number;
  readonly zeroPoint: number;
}

/** Some ways to round rows, whose features are divided by the same factors. */
export interface RoundedRows {
  /** [width]; absent where the features stay as they are. */
  readonly factors?: Float32Array;
  readonly roundings: readonly Rounding[];
}

/**
 * What rounding costs. Outputs for each product input N, each of its factors F and each of their steps S: `error.N.F.S`
 * float32 [width], the sums of squares of the differences.
 * @param rounded for each product input, the ways in which it is rounded.
 * @throws CheckpointError when a tensor is missing or has another shape than the configuration says.
 */
export function roundingGraph(
  checkpoint: Checkpoint,
  weights: Weights,
  rounded: readonly (readonly RoundedRows[])[],
): StatisticsGraph {
  const { graph, inputs } = imageProducts(checkpoint, weights);
  for (const [index, { value }] of inputs.entries()) {
    for (const [number, { factors, roundings }] of (rounded[index] ?? []).entries()) {
      const scope = createScope(graph, `rounding.${index}.${number}`);
      const x = factors === undefined ? value : divided(scope, value, factors);
      for (const [candidate, rounding] of roundings.entries())
        addOutput(graph, `error.${index}.${number}.${candidate}`, squaredError(scope, x, rounding));
    }
  }
  return { graph, inputs };
}

function divided({ op }: Scope, x: ProductInput['value'], factors: Float32Array): ProductInput['value'] {
  const bytes = new Uint8Array(factors.buffer, factors.byteOffset, factors.byteLength);
  return op.div(x, addInitializer(op.graph, `${op.path}.factors`, 'float32', [factors.length], bytes));
}

function squaredError({ op }: Scope, x: ProductInput['value'], { scale, zeroPoint }: Rounding): ProductInput['value'] {
  const [step, zero] = [op.constant('float32', scale), op.constant('uint8', zeroPoint)];
  const difference = op.sub(x, op.dequantizeLinear(op.quantizeLinear(x, step, zero), step, zero));
  return op.reduceSum(op.mul(difference, difference), 0);
}
