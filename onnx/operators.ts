import { int64s } from './constants.ts';
import type { ElementType } from './element-type.ts';
import { type Attribute, addNode, type Scope, type Value } from './graph.ts';

/**
 * One function per ONNX operator (opset 20): values in, value out. Names and meaning are the specification's
 * (onnx/docs/Operators.md); only what this package needs is here.
 */

type Numeric = 'float32' | 'int64' | 'int32';

function node<T extends ElementType>(
  scope: Scope,
  operator: string,
  inputs: readonly (Value | undefined)[],
  elementType: T,
  attributes: Readonly<Record<string, Attribute>> = {},
): Value<T> {
  const [output] = addNode(scope, { operator, inputs, attributes }, [elementType]);
  return output;
}

// Arithmetic, with broadcasting.

export function add<T extends Numeric>(scope: Scope, a: Value<T>, b: Value<T>): Value<T> {
  return node(scope, 'Add', [a, b], a.elementType);
}

export function sub<T extends Numeric>(scope: Scope, a: Value<T>, b: Value<T>): Value<T> {
  return node(scope, 'Sub', [a, b], a.elementType);
}

export function mul<T extends Numeric>(scope: Scope, a: Value<T>, b: Value<T>): Value<T> {
  return node(scope, 'Mul', [a, b], a.elementType);
}

/** Division; rounds towards zero for integers. */
export function div<T extends Numeric>(scope: Scope, a: Value<T>, b: Value<T>): Value<T> {
  return node(scope, 'Div', [a, b], a.elementType);
}

/** Remainder of an integer division. */
export function mod(scope: Scope, a: Value<'int64'>, b: Value<'int64'>): Value<'int64'> {
  return node(scope, 'Mod', [a, b], 'int64');
}

export function pow(scope: Scope, base: Value<'float32'>, exponent: Value<'float32'>): Value<'float32'> {
  return node(scope, 'Pow', [base, exponent], 'float32');
}

export function neg(scope: Scope, x: Value<'float32'>): Value<'float32'> {
  return node(scope, 'Neg', [x], 'float32');
}

export function exp(scope: Scope, x: Value<'float32'>): Value<'float32'> {
  return node(scope, 'Exp', [x], 'float32');
}

export function max<T extends Numeric>(scope: Scope, first: Value<T>, ...others: readonly Value<T>[]): Value<T> {
  return node(scope, 'Max', [first, ...others], first.elementType);
}

export function min<T extends Numeric>(scope: Scope, a: Value<T>, b: Value<T>): Value<T> {
  return node(scope, 'Min', [a, b], a.elementType);
}

// Comparison and logic, with broadcasting.

export function equal<T extends Numeric>(scope: Scope, a: Value<T>, b: Value<T>): Value<'bool'> {
  return node(scope, 'Equal', [a, b], 'bool');
}

export function less<T extends Numeric>(scope: Scope, a: Value<T>, b: Value<T>): Value<'bool'> {
  return node(scope, 'Less', [a, b], 'bool');
}

export function lessOrEqual<T extends Numeric>(scope: Scope, a: Value<T>, b: Value<T>): Value<'bool'> {
  return node(scope, 'LessOrEqual', [a, b], 'bool');
}

export function greater<T extends Numeric>(scope: Scope, a: Value<T>, b: Value<T>): Value<'bool'> {
  return node(scope, 'Greater', [a, b], 'bool');
}

export function greaterOrEqual<T extends Numeric>(scope: Scope, a: Value<T>, b: Value<T>): Value<'bool'> {
  return node(scope, 'GreaterOrEqual', [a, b], 'bool');
}

export function and(scope: Scope, a: Value<'bool'>, b: Value<'bool'>): Value<'bool'> {
  return node(scope, 'And', [a, b], 'bool');
}

export function or(scope: Scope, a: Value<'bool'>, b: Value<'bool'>): Value<'bool'> {
  return node(scope, 'Or', [a, b], 'bool');
}

export function not(scope: Scope, a: Value<'bool'>): Value<'bool'> {
  return node(scope, 'Not', [a], 'bool');
}

/** `condition ? a : b`, element by element, with broadcasting. onnxruntime has no kernel for bool on the CPU. */
export function where<T extends Exclude<ElementType, 'bool'>>(
  scope: Scope,
  condition: Value<'bool'>,
  a: Value<T>,
  b: Value<T>,
): Value<T> {
  return node(scope, 'Where', [condition, a, b], a.elementType);
}

export function cast<T extends ElementType>(
  scope: Scope,
  x: Value,
  elementType: T,
  elementTypeNumber: number,
): Value<T> {
  return node(scope, 'Cast', [x], elementType, { to: { int: elementTypeNumber } });
}

// Shapes.

/** Dimension `axis` of `x`, as a 1-D tensor of one element. `axis` counts from the front. */
export function dimension(scope: Scope, x: Value, axis: number): Value<'int64'> {
  return node(scope, 'Shape', [x], 'int64', { start: { int: axis }, end: { int: axis + 1 } });
}

/** A shape from fixed and run-time dimensions; `-1` is inferred and `0` copied, as Reshape defines them. */
export function shape(scope: Scope, dimensions: readonly (number | Value<'int64'>)[]): Value<'int64'> {
  if (dimensions.every((size) => typeof size === 'number')) return int64s(scope, dimensions);
  return concat(
    scope,
    dimensions.map((size) => (typeof size === 'number' ? int64s(scope, [size]) : size)),
    0,
  );
}

export function reshape<T extends ElementType>(
  scope: Scope,
  x: Value<T>,
  dimensions: readonly (number | Value<'int64'>)[],
): Value<T> {
  return node(scope, 'Reshape', [x, shape(scope, dimensions)], x.elementType);
}

/**
 * Reshape to fixed dimensions after a first one that follows from them, and has a name. Values whose first dimensions
 * have one name are as long as each other. The runtime lets them share memory, and looks for some to share in a list of
 * all the others it cannot: without names that list grows with the graph, and loading with its square.
 */
export function reshapeNamed<T extends ElementType>(
  scope: Scope,
  x: Value<T>,
  name: string,
  dimensions: readonly number[],
): Value<T> {
  const reshaped = reshape(scope, x, [-1, ...dimensions]);
  scope.graph.valueInfos.push({ ...reshaped, shape: [name, ...dimensions] });
  return reshaped;
}

/** Reshape to a shape that was written before, by `shape`. */
export function reshapeTo<T extends ElementType>(scope: Scope, x: Value<T>, dimensions: Value<'int64'>): Value<T> {
  return node(scope, 'Reshape', [x, dimensions], x.elementType);
}

export function expand<T extends ElementType>(
  scope: Scope,
  x: Value<T>,
  dimensions: readonly (number | Value<'int64'>)[],
): Value<T> {
  return node(scope, 'Expand', [x, shape(scope, dimensions)], x.elementType);
}

export function transpose<T extends ElementType>(scope: Scope, x: Value<T>, permutation: readonly number[]): Value<T> {
  return node(scope, 'Transpose', [x], x.elementType, { perm: { ints: permutation } });
}

export function unsqueeze<T extends ElementType>(scope: Scope, x: Value<T>, axes: readonly number[]): Value<T> {
  return node(scope, 'Unsqueeze', [x, int64s(scope, axes)], x.elementType);
}

export function squeeze<T extends ElementType>(scope: Scope, x: Value<T>, axes: readonly number[]): Value<T> {
  return node(scope, 'Squeeze', [x, int64s(scope, axes)], x.elementType);
}

export function concat<T extends ElementType>(scope: Scope, parts: readonly Value<T>[], axis: number): Value<T> {
  const [first] = parts;
  if (first === undefined) throw new RangeError('concat needs at least one part');
  return node(scope, 'Concat', parts, first.elementType, { axis: { int: axis } });
}

/** `x[start:end]` along one axis; `start` and `end` are 1-D tensors of one element. */
export function slice<T extends ElementType>(
  scope: Scope,
  x: Value<T>,
  start: Value<'int64'>,
  end: Value<'int64'>,
  axes: readonly number[],
): Value<T> {
  return node(scope, 'Slice', [x, start, end, int64s(scope, axes)], x.elementType);
}

/** `start, start + 1, … limit - 1`; both are 0-D. */
export function range(
  scope: Scope,
  start: Value<'int64'>,
  limit: Value<'int64'>,
  step: Value<'int64'>,
): Value<'int64'> {
  return node(scope, 'Range', [start, limit, step], 'int64');
}

/** The upper or lower triangle of the last two axes; the rest is zero. `diagonal` as in the specification's `k`. */
export function lowerTriangle(scope: Scope, x: Value<'int64'>, diagonal: number): Value<'int64'> {
  return node(scope, 'Trilu', [x, int64s(scope, [diagonal])], 'int64', { upper: { int: 0 } });
}

// Indexing.

export function gather<T extends ElementType>(
  scope: Scope,
  x: Value<T>,
  indices: Value<'int64'>,
  axis: number,
): Value<T> {
  return node(scope, 'Gather', [x, indices], x.elementType, { axis: { int: axis } });
}

export function gatherElements<T extends ElementType>(
  scope: Scope,
  x: Value<T>,
  indices: Value<'int64'>,
  axis: number,
): Value<T> {
  return node(scope, 'GatherElements', [x, indices], x.elementType, { axis: { int: axis } });
}

/** `reduction` says what happens where an index is named more than once or already holds a value. */
export function scatterElements<T extends ElementType>(
  scope: Scope,
  x: Value<T>,
  indices: Value<'int64'>,
  updates: Value<T>,
  axis: number,
  reduction: 'none' | 'add' | 'min' = 'none',
): Value<T> {
  return node(scope, 'ScatterElements', [x, indices, updates], x.elementType, {
    axis: { int: axis },
    reduction: { string: reduction },
  });
}

/** The `count` largest values of an axis, largest first, with their positions. `count` is 1-D of one element. */
export function topK(
  scope: Scope,
  x: Value<'float32'>,
  count: Value<'int64'>,
  axis = -1,
): { readonly values: Value<'float32'>; readonly indices: Value<'int64'> } {
  const [values, indices] = addNode(
    scope,
    { operator: 'TopK', inputs: [x, count], attributes: { axis: { int: axis } } },
    ['float32', 'int64'],
  );
  return { values, indices };
}

/** `x / scale`, rounded to even, plus `zeroPoint`; what is out of range is as near as it gets. */
export function quantizeLinear(
  scope: Scope,
  x: Value<'float32'>,
  scale: Value<'float32'>,
  zeroPoint: Value<'uint8'>,
): Value<'uint8'> {
  return node(scope, 'QuantizeLinear', [x, scale, zeroPoint], 'uint8');
}

// Reductions over one axis; the axis stays with size 1 when `keep` is set.

function reduce<T extends Numeric>(scope: Scope, operator: string, x: Value<T>, axis: number, keep: boolean): Value<T> {
  return node(scope, operator, [x, int64s(scope, [axis])], x.elementType, { keepdims: { int: keep ? 1 : 0 } });
}

export function reduceSum<T extends Numeric>(scope: Scope, x: Value<T>, axis: number, keep = false): Value<T> {
  return reduce(scope, 'ReduceSum', x, axis, keep);
}

export function reduceMax<T extends Numeric>(scope: Scope, x: Value<T>, axis: number, keep = false): Value<T> {
  return reduce(scope, 'ReduceMax', x, axis, keep);
}

export function reduceMin<T extends Numeric>(scope: Scope, x: Value<T>, axis: number, keep = false): Value<T> {
  return reduce(scope, 'ReduceMin', x, axis, keep);
}

export function reduceLogSumExp(scope: Scope, x: Value<'float32'>, axis: number, keep = false): Value<'float32'> {
  return reduce(scope, 'ReduceLogSumExp', x, axis, keep);
}

export function cumulativeSum<T extends Numeric>(scope: Scope, x: Value<T>, axis: number): Value<T> {
  return node(scope, 'CumSum', [x, int64s(scope, [axis])], x.elementType);
}

// Neural network operators.

/** `x · weightᵀ + bias` for `x` [rows, in], `weight` [out, in] and `bias` [out]: PyTorch's Linear, weights as they lie. */
export function gemm(
  scope: Scope,
  x: Value<'float32'>,
  weight: Value<'float32'>,
  bias?: Value<'float32'>,
): Value<'float32'> {
  return node(scope, 'Gemm', [x, weight, bias], 'float32', { transB: { int: 1 } });
}

export function layerNormalization(
  scope: Scope,
  x: Value<'float32'>,
  weight: Value<'float32'>,
  bias: Value<'float32'>,
  epsilon: number,
): Value<'float32'> {
  return node(scope, 'LayerNormalization', [x, weight, bias], 'float32', { epsilon: { float: epsilon } });
}

/** Exact (erf) GELU, or its tanh approximation. */
export function gelu(scope: Scope, x: Value<'float32'>, approximate: 'none' | 'tanh' = 'none'): Value<'float32'> {
  return node(scope, 'Gelu', [x], 'float32', { approximate: { string: approximate } });
}

/** x / its Euclidean length, along the last axis. */
export function normalizeL2(scope: Scope, x: Value<'float32'>): Value<'float32'> {
  return node(scope, 'LpNormalization', [x], 'float32', { axis: { int: -1 }, p: { int: 2 } });
}

export function relu(scope: Scope, x: Value<'float32'>): Value<'float32'> {
  return node(scope, 'Relu', [x], 'float32');
}

export function sigmoid(scope: Scope, x: Value<'float32'>): Value<'float32'> {
  return node(scope, 'Sigmoid', [x], 'float32');
}

export function softmax(scope: Scope, x: Value<'float32'>): Value<'float32'> {
  return node(scope, 'Softmax', [x], 'float32', { axis: { int: -1 } });
}

export function logSoftmax(scope: Scope, x: Value<'float32'>): Value<'float32'> {
  return node(scope, 'LogSoftmax', [x], 'float32', { axis: { int: -1 } });
}

/** Bicubic resize of `x` to `sizes` as Pillow does it: Catmull-Rom kernel, antialiased, edge weights renormalised. */
export function resizeBicubic<T extends 'uint8' | 'float32'>(
  scope: Scope,
  x: Value<T>,
  sizes: Value<'int64'>,
): Value<T> {
  return node(scope, 'Resize', [x, undefined, undefined, sizes], x.elementType, {
    mode: { string: 'cubic' },
    antialias: { int: 1 },
    cubic_coeff_a: { float: -0.5 },
    exclude_outside: { int: 1 },
    coordinate_transformation_mode: { string: 'half_pixel' },
  });
}

/** `torch.nn.functional.interpolate(x, mode='bicubic', align_corners=False)` of [batch, channels, height, width]. */
export function interpolateBicubic(scope: Scope, x: Value<'float32'>, sizes: Value<'int64'>): Value<'float32'> {
  return node(scope, 'Resize', [x, undefined, undefined, sizes], 'float32', {
    mode: { string: 'cubic' },
    cubic_coeff_a: { float: -0.75 },
    coordinate_transformation_mode: { string: 'half_pixel' },
  });
}
