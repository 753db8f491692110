import { relative } from 'node:path';
import { CheckpointError } from '../checkpoint/errors.ts';
import { quantizedNames } from '../checkpoint/weights/int8-format.ts';
import type { Dtype, TensorRegion } from '../checkpoint/weights/safetensors.ts';
import { findTensor, type Weights } from '../checkpoint/weights/weights.ts';
import { type ElementType, elementTypeNumbers } from '../onnx/element-type.ts';
import { addInitializer, type Graph, outermost, type Scope, type Value } from '../onnx/graph.ts';
import { cast } from '../onnx/operators.ts';

/**
 * A part of a model: a place in a graph and a place in a checkpoint, under one path. The code path spells the
 * checkpoint's names: `child(child(model, 'text_decoder'), 'bert')`.
 */
export interface Module extends Scope {
  readonly weights: Weights;
}

const weightTypes: Partial<Record<Dtype, 'float32' | 'float16' | 'bfloat16'>> = {
  F32: 'float32',
  F16: 'float16',
  BF16: 'bfloat16',
};

/** The whole model, at the root of a graph. */
export function rootModule(graph: Graph, weights: Weights): Module {
  return { graph, path: '', weights };
}

/** The part of `module` called `name`; dots go several levels down. */
export function child(module: Module, name: string): Module {
  return { ...module, path: module.path === '' ? name : `${module.path}.${name}` };
}

/** The same part of the model, written into another graph: the body of a loop. */
export function within(module: Module, scope: Scope): Module {
  return { ...module, graph: scope.graph };
}

export interface WeightOptions {
  /** Paths from the model's root where the same tensor may lie instead, when weights are tied. */
  readonly tiedTo?: readonly string[];
  /** Only these rows (first axis), from and to: a byte range of the tensor's byte range. */
  readonly rows?: readonly [from: number, to: number];
  /** The shape in the file, where the graph wants the same bytes under another shape. */
  readonly storedShape?: readonly number[];
}

/**
 * The tensor `name` of this part of the model as float32. Its bytes stay in the checkpoint's own file; float16 and
 * bfloat16 are widened by a Cast outside any loop.
 * @throws CheckpointError when it is missing, has another shape, or is not a floating point tensor.
 */
export function weight(
  module: Module,
  name: string,
  shape: readonly number[],
  options: WeightOptions = {},
): Value<'float32'> {
  const names = [child(module, name).path, ...(options.tiedTo ?? [])];
  const region = findTensor(module.weights, names, options.storedShape ?? shape);
  const elementType = weightTypes[region.dtype];
  if (elementType === undefined) throw wrongDtype(region, 'F32, F16 or BF16');
  const value = addPiece(module, region, elementType, rowsOf(region, shape, options.rows));
  return elementType === 'float32' ? (value as Value<'float32'>) : widened(module, value);
}

/** Some of the outputs of a Linear whose weight a checkpoint has as int8. */
export interface QuantizedWeight {
  /** [in, outputs] */
  readonly values: Value<'int8'>;
  /** [outputs]: what one step of int8 means in each. */
  readonly scale: Value<'float32'>;
}

/**
 * The weight of this part of the model as int8, where the checkpoint has it so. See checkpoint/weights/int8-format.ts.
 * @param part which of so many equal parts that one matrix is made of.
 * @throws CheckpointError when it has another shape or dtype.
 */
export function quantizedWeight(
  module: Module,
  inputSize: number,
  outputSize: number,
  part: { readonly index: number; readonly count: number },
): QuantizedWeight | undefined {
  const name = child(module, quantizedNames.values).path;
  if (!module.weights.regions.has(name)) return undefined;
  const region = findTensor(module.weights, [name], [part.count, inputSize, outputSize]);
  if (region.dtype !== 'I8') throw wrongDtype(region, 'I8');
  const own = rowsOf(region, [part.count, inputSize, outputSize], [part.index, part.index + 1]);
  const rows = [part.index * outputSize, (part.index + 1) * outputSize] as const;
  return {
    values: addPiece(module, region, 'int8', { ...own, shape: [inputSize, outputSize] }),
    scale: weight(module, quantizedNames.scale, [part.count * outputSize], { rows }),
  };
}

function wrongDtype({ path, name, dtype }: TensorRegion, expected: string): CheckpointError {
  return new CheckpointError(
    'CHECKPOINT_TENSOR_MISMATCH',
    `${path}: tensor ${name}: expected dtype ${expected}, got ${dtype}.`,
  );
}

/** Bytes of a region, and the shape that they have for the graph. */
interface Piece {
  readonly suffix: string;
  readonly shape: readonly number[];
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** Some rows of a region, or all. */
function rowsOf(region: TensorRegion, shape: readonly number[], rows: WeightOptions['rows']): Piece {
  const [from, to] = rows ?? [0, shape[0] ?? 1];
  const rowBytes = region.lengthBytes / (shape[0] ?? 1);
  return {
    suffix: rows === undefined ? '' : `[${from}:${to}]`,
    shape: [to - from, ...shape.slice(1)],
    offsetBytes: region.offsetBytes + from * rowBytes,
    lengthBytes: (to - from) * rowBytes,
  };
}

function addPiece<T extends ElementType>(
  module: Module,
  region: TensorRegion,
  elementType: T,
  { suffix, shape, offsetBytes, lengthBytes }: Piece,
): Value<T> {
  const location = relative(module.weights.dataFolder, region.path);
  return addInitializer(module.graph, `${region.name}${suffix}`, elementType, shape, {
    location,
    offsetBytes,
    lengthBytes,
  });
}

/** Casts a weight once per run: the node goes to the outermost graph, and each weight has one. */
function widened(module: Module, value: Value): Value<'float32'> {
  const graph = outermost(module.graph);
  const existing = graph.nodes.find((node) => node.operator === 'Cast' && node.inputs[0] === value.name);
  if (existing !== undefined) return { name: existing.name, elementType: 'float32' };
  return cast({ graph, path: value.name }, value, 'float32', elementTypeNumbers.float32);
}
