import type { Real } from '../onnx/element-type.ts';
import type { Value } from '../onnx/graph.ts';
import { type Module, storedWeight, type WeightOptions } from './module.ts';

/**
 * `torch.nn.Embedding`: the rows of a matrix [count, width] that `ids` name, in the model's precision. Rows of another
 * precision are converted when they are looked up, so that a language model's matrix of half a gigabyte stays mapped
 * from its file.
 * @throws CheckpointError as `weight` does.
 */
export function embeddingRows(
  module: Module,
  name: string,
  shape: readonly [count: number, width: number],
  ids: Value<'int64'>,
  options: WeightOptions = {},
): Value<Real> {
  const { op, precision } = module;
  const rows = op.gather(storedWeight(module, name, shape, options), ids, 0);
  return rows.elementType === precision ? rows : op.cast(rows, precision);
}
