import { relative, sep } from 'node:path';
import { CheckpointError } from '../checkpoint/errors.ts';
import { hasQuantizedWeights } from '../checkpoint/weights/int8-format.ts';
import type { Dtype, TensorRegion } from '../checkpoint/weights/safetensors.ts';
import { findTensor, type Weights } from '../checkpoint/weights/weights.ts';
import type { ElementType, Real } from '../onnx/element-type.ts';
import { addInitializer, type Graph, once, outermost, type Value } from '../onnx/graph.ts';
import { createScope, type Scope } from '../onnx/scope.ts';

/**
 * A part of a model: a place in a graph and a place in a checkpoint, under one path. Paths spell the checkpoint's names:
 * `child(child(model, 'text_decoder'), 'bert')`.
 */
export interface Module extends Scope {
  readonly weights: Weights;
  /** The type that the model computes with. */
  readonly precision: Real;
  readonly form: GraphForm;
}

/**
 * Which operators a graph is made of. Both forms compute the same.
 * - `plain`: those of ONNX, and attention. For CPUs.
 * - `lean`: few and large ones, because each costs a GPU a launch. They add biases and residuals, and keep caches in place
 *   where sequences keep their places. For GPUs; float32 runs on CPUs as well.
 */
export type GraphForm = 'plain' | 'lean';

const weightTypes: Partial<Record<Dtype, 'float32' | 'float16' | 'bfloat16'>> = {
  F32: 'float32',
  F16: 'float16',
  BF16: 'bfloat16',
};

/** How the graph of a model is written. */
export interface GraphOptions {
  /** The type that the model computes with; float32 unless it is given. Outputs are float32 whatever it is. */
  readonly precision?: Real;
  /** `plain` unless it is given. A model over int8 is always written in the plain form. */
  readonly form?: GraphForm;
}

/**
 * The whole model, at the root of a graph.
 * @throws CheckpointError when weights are int8 and the precision is not float32.
 */
export function rootModule(graph: Graph, weights: Weights, options: GraphOptions = {}): Module {
  const { precision = 'float32', form = 'plain' } = options;
  const isQuantized = hasQuantizedWeights(weights);
  if (precision !== 'float32' && isQuantized) {
    throw new CheckpointError(
      'CHECKPOINT_WEIGHTS_INVALID',
      `${weights.folder}: expected weights that are not int8 for a model in ${precision}; int8 needs float32.`,
    );
  }
  return { ...createScope(graph), weights, precision, form: isQuantized ? 'plain' : form };
}

/** The part of `module` called `name`; dots go several levels down. */
export function child(module: Module, name: string): Module {
  return at(module, module.op.graph, pathOf(module, name));
}

/** The name of a tensor of this part of the model. */
export function pathOf({ op: { path } }: Module, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}

/** A part of the model, written into another graph: the body of a loop. */
export function within(module: Module, scope: Scope): Module {
  return at(module, scope.op.graph, module.op.path);
}

function at({ weights, precision, form }: Module, graph: Graph, path: string): Module {
  const { op } = createScope(graph, path);
  return { op, weights, precision, form };
}

export interface WeightOptions {
  /** Paths from the model's root where the tensor may be stored instead, when weights are tied. */
  readonly tiedTo?: readonly string[];
  /** Only these rows (first axis), from and to: a byte range of the tensor's byte range. */
  readonly rows?: readonly [from: number, to: number];
  /** The shape in the file, where the graph wants its bytes under another shape. */
  readonly storedShape?: readonly number[];
}

/**
 * The tensor `name` of this part of the model, in the model's precision. Its bytes stay in the checkpoint's file. A
 * tensor that the file has in another precision goes through one Cast, outside any loop.
 * @throws CheckpointError when it is missing, has another shape, or is not a floating point tensor.
 */
export function weight(
  module: Module,
  name: string,
  shape: readonly number[],
  options: WeightOptions = {},
): Value<Real> {
  const value = storedWeight(module, name, shape, options);
  const root = outermost(module.op.graph);
  const { precision } = module;
  if (value.elementType === precision) return value;
  return once(root, `${value.name} as ${precision}`, precision, () =>
    createScope(root, value.name).op.cast(value, precision),
  );
}

/**
 * The tensor `name` of this part of the model, in the precision that the file has.
 * @throws CheckpointError as `weight` does.
 */
export function storedWeight(
  module: Module,
  name: string,
  shape: readonly number[],
  options: WeightOptions = {},
): Value<'float32' | 'float16' | 'bfloat16'> {
  const names = [pathOf(module, name), ...(options.tiedTo ?? [])];
  const region = findTensor(module.weights, names, options.storedShape ?? shape);
  const elementType = weightTypes[region.dtype];
  if (elementType === undefined) throw wrongDtype(region, 'F32, F16 or BF16');
  return addPiece(module, region, elementType, rowsOf(region, shape, options.rows));
}

/**
 * A value made of weights: joined, or transposed. It is written once, outside any loop, and computed at load where constants
 * are folded.
 * @param label says what it is, below the path of `module`.
 */
export function prepared(
  module: Module,
  label: string,
  weights: readonly Value<Real>[],
  write: (scope: Scope) => Value<Real>,
): Value<Real> {
  const root = outermost(module.op.graph);
  const path = pathOf(module, label);
  for (const { name } of weights) if (root.initializers.has(name)) root.convertedInitializers.add(name);
  return once(root, path, module.precision, () => write(createScope(root, path)));
}

/** A tensor that has this name and shape, and another dtype than the graph needs. */
export function wrongDtype({ path, name, dtype }: TensorRegion, expected: string): CheckpointError {
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
export function rowsOf(region: TensorRegion, shape: readonly number[], rows: WeightOptions['rows']): Piece {
  const [from, to] = rows ?? [0, shape[0] ?? 1];
  const rowBytes = region.lengthBytes / (shape[0] ?? 1);
  return {
    suffix: rows === undefined ? '' : `[${from}:${to}]`,
    shape: [to - from, ...shape.slice(1)],
    offsetBytes: region.offsetBytes + from * rowBytes,
    lengthBytes: (to - from) * rowBytes,
  };
}

/** Adds bytes of the checkpoint's file to the graph, which stay in the file. */
export function addPiece<T extends ElementType>(
  module: Module,
  region: TensorRegion,
  elementType: T,
  { suffix, shape, offsetBytes, lengthBytes }: Piece,
): Value<T> {
  const location = locationOf(region, module.weights.dataFolder);
  return addInitializer(module.op.graph, `${region.name}${suffix}`, elementType, shape, {
    location,
    offsetBytes,
    lengthBytes,
  });
}

/** path.relative alone took a tenth of the time of writing a graph. */
function locationOf({ path }: TensorRegion, folder: string): string {
  return path.startsWith(folder + sep) ? path.slice(folder.length + sep.length) : relative(folder, path);
}
