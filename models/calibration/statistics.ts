import type { Checkpoint } from '../../checkpoint/checkpoint.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import { addOutput, type Graph } from '../../onnx/graph.ts';
import { createScope, type Scope } from '../../onnx/scope.ts';
import { imageProducts, type ProductInput } from './image-products.ts';

/** Graphs that tell how the rows look that products of integers will read. Their outputs do not grow with the images. */

export interface StatisticsGraph {
  readonly graph: Graph;
  readonly inputs: readonly ProductInput[];
}

/**
 * The range of each feature. Outputs for each product input, float32 [width]: `smallest.N` and `largest.N`.
 * @throws CheckpointError when a tensor is missing or has another shape than the configuration says.
 */
export function rangesGraph(checkpoint: Checkpoint, weights: Weights): StatisticsGraph {
  const { graph, inputs } = imageProducts(checkpoint, weights);
  for (const [index, { value }] of inputs.entries()) {
    const { op } = createScope(graph, `ranges.${index}`);
    addOutput(graph, `smallest.${index}`, op.reduceMin(value, 0));
    addOutput(graph, `largest.${index}`, op.reduceMax(value, 0));
  }
  return { graph, inputs };
}

/** Steps of rows: (x / scale + zeroPoint) is a byte. */
export interface Rounding {
  readonly scale: number;
  readonly zeroPoint: number;
}

/**
 * The cost of rounding. Outputs for each product input N and each of its roundings R: `error.N.R` float32 [width], the
 * sums of squares of the differences.
 * @param roundings those of each product input.
 * @throws CheckpointError when a tensor is missing or has another shape than the configuration says.
 */
export function roundingGraph(
  checkpoint: Checkpoint,
  weights: Weights,
  roundings: readonly (readonly Rounding[])[],
): StatisticsGraph {
  const { graph, inputs } = imageProducts(checkpoint, weights);
  for (const [index, { value }] of inputs.entries()) {
    const scope = createScope(graph, `rounding.${index}`);
    for (const [number, rounding] of (roundings[index] ?? []).entries())
      addOutput(graph, `error.${index}.${number}`, squaredError(scope, value, rounding));
  }
  return { graph, inputs };
}

function squaredError({ op }: Scope, x: ProductInput['value'], { scale, zeroPoint }: Rounding): ProductInput['value'] {
  const [step, zero] = [op.constant('float32', scale), op.constant('uint8', zeroPoint)];
  const difference = op.sub(x, op.dequantizeLinear(op.quantizeLinear(x, step, zero), step, zero));
  return op.reduceSum(op.mul(difference, difference), 0);
}
