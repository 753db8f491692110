import { type ConstantType, constant, type Literal } from './constants.ts';
import { type ElementType, elementTypeNumbers, type Numeric, type Real } from './element-type.ts';
import { axesOf, mismatch, replaceAxis, requireOneType, withShape } from './fit.ts';
import { type Attribute, addNode, type Graph, isOfType, nodeName, type Value } from './graph.ts';
import { MicrosoftOperators } from './microsoft-operators.ts';
import {
  broadcast,
  concatenated,
  type Dimension,
  describeShape,
  differ,
  matches,
  reshaped,
  type Shape,
} from './shape.ts';

/** A number becomes a 0-D constant of the other operand's type, a list of numbers a 1-D one. */
export type Operand<T extends ElementType> = Value<T> | number | readonly number[];

/** A 1-D int64 tensor: shapes, axes, indices. A number stands for a 0-D one. */
export type Ints = Value<'int64'> | readonly number[];

/** One dimension of a value, at run time: 1-D of one element. */
export interface Size extends Value<'int64'> {
  readonly dimension: Dimension | undefined;
}

/** A shape that several values are reshaped to: 1-D. */
export interface TargetShape extends Value<'int64'> {
  readonly dimensions: Shape;
}

type SizeOperand = number | Value<'int64'>;

function dimensionOf(size: SizeOperand): Dimension | undefined {
  if (typeof size === 'number') return size;
  return isSize(size) ? size.dimension : undefined;
}

function isSize(value: Value<'int64'>): value is Size {
  return 'dimension' in value;
}

function isTargetShape(value: Value<'int64'> | readonly SizeOperand[]): value is TargetShape {
  return 'dimensions' in value;
}

/**
 * ONNX operators (opset 20), bound to the place where they write their nodes: values in, value out. Names and meaning
 * are the specification's (onnx/docs/Operators.md); only those that this package needs are here.
 * Where shapes are known they are carried on, and one that does not fit is refused on the line that writes it.
 * @throws RangeError when types or known shapes do not fit; the message has the node's name and the shapes.
 */
export class Operators {
  readonly graph: Graph;
  readonly path: string;

  constructor(graph: Graph, path: string) {
    this.graph = graph;
    this.path = path;
  }

  get microsoft(): MicrosoftOperators {
    return new MicrosoftOperators(this);
  }

  // Constants.

  /** A tensor in the graph itself: 0-D from one number, 1-D from a list, unless a shape is given. */
  constant<T extends ConstantType>(elementType: T, literal: Literal, shape?: readonly number[]): Value<T> {
    return constant(this.graph, elementType, literal, shape);
  }

  /** A tensor of one number everywhere. */
  fill<T extends ConstantType>(elementType: T, number: number | boolean, sizes: readonly SizeOperand[]): Value<T> {
    return this.expand(this.constant(elementType, number), sizes);
  }

  // Arithmetic, with broadcasting.

  add<T extends Numeric>(a: Value<T>, b: Operand<T>): Value<T> {
    return this.#arithmetic('Add', a, b);
  }

  sub<T extends Numeric>(a: Value<T>, b: Operand<T>): Value<T> {
    return this.#arithmetic('Sub', a, b);
  }

  mul<T extends Numeric>(a: Value<T>, b: Operand<T>): Value<T> {
    return this.#arithmetic('Mul', a, b);
  }

  /** Division; rounds towards zero for integers. */
  div<T extends Numeric>(a: Value<T>, b: Operand<T>): Value<T> {
    return this.#arithmetic('Div', a, b);
  }

  /** Remainder of an integer division. */
  mod(a: Value<'int64'>, b: Operand<'int64'>): Value<'int64'> {
    return this.#arithmetic('Mod', a, b);
  }

  pow<T extends Real>(base: Value<T>, exponent: Operand<T>): Value<T> {
    return this.#arithmetic('Pow', base, exponent);
  }

  neg<T extends Real>(x: Value<T>): Value<T> {
    return this.#elementwise('Neg', x);
  }

  exp<T extends Real>(x: Value<T>): Value<T> {
    return this.#elementwise('Exp', x);
  }

  max<T extends Numeric>(first: Value<T>, ...others: readonly Operand<T>[]): Value<T> {
    return this.#arithmetic('Max', first, ...others);
  }

  min<T extends Numeric>(a: Value<T>, b: Operand<T>): Value<T> {
    return this.#arithmetic('Min', a, b);
  }

  // Comparison and logic, with broadcasting.

  equal<T extends Numeric>(a: Value<T>, b: Operand<T>): Value<'bool'> {
    return this.#comparison('Equal', a, b);
  }

  less<T extends Numeric>(a: Value<T>, b: Operand<T>): Value<'bool'> {
    return this.#comparison('Less', a, b);
  }

  lessOrEqual<T extends Numeric>(a: Value<T>, b: Operand<T>): Value<'bool'> {
    return this.#comparison('LessOrEqual', a, b);
  }

  greater<T extends Numeric>(a: Value<T>, b: Operand<T>): Value<'bool'> {
    return this.#comparison('Greater', a, b);
  }

  greaterOrEqual<T extends Numeric>(a: Value<T>, b: Operand<T>): Value<'bool'> {
    return this.#comparison('GreaterOrEqual', a, b);
  }

  and(a: Value<'bool'>, b: Value<'bool'>): Value<'bool'> {
    return this.#comparison('And', a, b);
  }

  or(a: Value<'bool'>, b: Value<'bool'>): Value<'bool'> {
    return this.#comparison('Or', a, b);
  }

  not(a: Value<'bool'>): Value<'bool'> {
    return this.#elementwise('Not', a);
  }

  /** `condition ? a : b`, element by element, with broadcasting. onnxruntime has no kernel for bool on the CPU. */
  where<T extends Numeric>(condition: Value<'bool'>, a: Value<T>, b: Operand<T>): Value<T>;
  where<T extends Numeric>(condition: Value<'bool'>, a: Operand<T>, b: Value<T>): Value<T>;
  where<T extends Numeric>(condition: Value<'bool'>, a: Operand<T>, b: Operand<T>): Value<T> {
    const like = isValue(a) ? a : b;
    if (!isValue(like)) throw new RangeError(`${nodeName(this, 'Where')}: expected one operand to be a value.`);
    const [first, second] = [this.#operand(a, like), this.#operand(b, like)];
    const shape = this.#broadcastShape('Where', [condition, first, second]);
    requireOneType(this, 'Where', first, second);
    return this.#node('Where', [condition, first, second], like.elementType, shape);
  }

  /** `x` itself where it has that type already. */
  cast<T extends ElementType>(x: Value, elementType: T): Value<T> {
    if (isOfType(x, elementType)) return x;
    if (this.graph.initializers.has(x.name)) this.graph.convertedInitializers.add(x.name);
    return this.#node('Cast', [x], elementType, x.shape, { to: { int: elementTypeNumbers[elementType] } });
  }

  // Shapes.

  /** Dimension `axis` of `x`, which counts from the front, as a 1-D tensor of one element. */
  dimension(x: Value, axis: number): Size {
    if (axis < 0) throw mismatch(this, 'Shape', `an axis that counts from the front in place of ${axis}`, x);
    axesOf(this, 'Shape', x, [axis]);
    const size = this.#node('Shape', [x], 'int64', [1], { start: { int: axis }, end: { int: axis + 1 } });
    return { ...size, dimension: x.shape?.[axis] };
  }

  /** A shape from fixed and run-time dimensions; `-1` is inferred and `0` copied, as Reshape defines them. */
  shape(sizes: readonly SizeOperand[]): TargetShape {
    const dimensions = sizes.map(dimensionOf);
    if (sizes.every((size) => typeof size === 'number')) return { ...this.constant('int64', sizes), dimensions };
    const parts = sizes.map((size) => (typeof size === 'number' ? this.constant('int64', [size]) : size));
    return { ...this.#node('Concat', parts, 'int64', [sizes.length], { axis: { int: 0 } }), dimensions };
  }

  /** To the sizes given, or to a shape that was written before, by `shape`. */
  reshape<T extends ElementType>(x: Value<T>, sizes: readonly SizeOperand[] | TargetShape): Value<T> {
    const target = isTargetShape(sizes) ? sizes : this.shape(sizes);
    const shape = reshaped(x.shape, target.dimensions);
    if (shape === null) {
      throw mismatch(this, 'Reshape', `as many elements as ${describeShape(target.dimensions)} has`, x);
    }
    return this.#node('Reshape', [x, target], x.elementType, shape);
  }

  /**
   * Reshape to fixed dimensions after a first one that follows from them, and has a name. Values whose first dimensions
   * have one name are as long as each other, so that the runtime lets them share memory. It looks for some to share in a
   * list of all values it knows no size of: without names that list grows with the graph, and loading with its square.
   */
  reshapeNamed<T extends ElementType>(x: Value<T>, name: string, dimensions: readonly number[]): Value<T> {
    const value = this.reshape(x, [-1, ...dimensions]);
    const shape = [name, ...dimensions];
    this.graph.valueInfos.push({ name: value.name, elementType: value.elementType, shape });
    return { ...value, shape: typeof value.shape?.[0] === 'number' ? value.shape : shape };
  }

  expand<T extends ElementType>(x: Value<T>, sizes: readonly SizeOperand[]): Value<T> {
    const target = this.shape(sizes);
    const shape = broadcast(x.shape, target.dimensions);
    if (shape === null) {
      throw mismatch(this, 'Expand', `a shape that broadcasts to ${describeShape(target.dimensions)}`, x);
    }
    return this.#node('Expand', [x, target], x.elementType, shape);
  }

  transpose<T extends ElementType>(x: Value<T>, permutation: readonly number[]): Value<T> {
    const { shape } = x;
    if (shape !== undefined && shape.length !== permutation.length) {
      throw mismatch(this, 'Transpose', `${permutation.length} dimensions`, x);
    }
    if (!permutation.every((_, axis) => permutation.includes(axis))) {
      throw mismatch(this, 'Transpose', `each axis once in place of ${permutation.join(', ')}`, x);
    }
    const permuted = shape === undefined ? undefined : permutation.map((axis) => shape[axis]);
    return this.#node('Transpose', [x], x.elementType, permuted, { perm: { ints: permutation } });
  }

  /** Puts dimensions of 1 at these axes of the result. */
  unsqueeze<T extends ElementType>(x: Value<T>, axes: readonly number[]): Value<T> {
    const rank = x.shape === undefined ? undefined : x.shape.length + axes.length;
    const added = axesOf(this, 'Unsqueeze', x, axes, rank)?.toSorted((a, b) => a - b);
    const shape = added?.reduce((rest: Shape | undefined, axis) => rest?.toSpliced(axis, 0, 1), x.shape);
    return this.#node('Unsqueeze', [x, this.constant('int64', axes)], x.elementType, shape);
  }

  /** Leaves out these axes, which must have the size 1. */
  squeeze<T extends ElementType>(x: Value<T>, axes: readonly number[]): Value<T> {
    const { shape } = x;
    const leftOut = axesOf(this, 'Squeeze', x, axes);
    if (leftOut?.some((axis) => differ(shape?.[axis], 1))) {
      throw mismatch(this, 'Squeeze', `the size 1 at axes ${axes.join(', ')}`, x);
    }
    const squeezed = shape?.filter((_, axis) => !leftOut?.includes(axis));
    return this.#node('Squeeze', [x, this.constant('int64', axes)], x.elementType, squeezed);
  }

  concat<T extends ElementType>(parts: readonly [Value<T>, ...(readonly Value<T>[])], axis: number): Value<T> {
    const [first] = parts;
    const [position] = axesOf(this, 'Concat', first, [axis]) ?? [];
    const shapes = parts.map((part) => part.shape);
    const shape = position === undefined ? undefined : concatenated(shapes, position);
    if (shape === null) throw mismatch(this, 'Concat', `shapes that differ at axis ${axis} alone`, ...parts);
    requireOneType(this, 'Concat', ...parts);
    return this.#node('Concat', parts, first.elementType, shape, { axis: { int: axis } });
  }

  /** Three equal parts of an axis. */
  splitInThree<T extends ElementType>(x: Value<T>, axis: number): readonly [Value<T>, Value<T>, Value<T>] {
    const [position = axis] = axesOf(this, 'Split', x, [axis]) ?? [];
    const size = x.shape?.[position];
    if (typeof size === 'number' && size % 3 !== 0) throw mismatch(this, 'Split', `a multiple of 3 at axis ${axis}`, x);
    const { elementType: type, shape } = x;
    const attributes = { axis: { int: axis }, num_outputs: { int: 3 } };
    const parts = addNode(this, { operator: 'Split', inputs: [x], attributes }, [type, type, type]);
    const part = shape?.with(position, typeof size === 'number' ? size / 3 : undefined);
    const [first, second, third] = parts;
    return [withShape(first, part), withShape(second, part), withShape(third, part)];
  }

  /** `x[start:end]` along `axes`; `start` and `end` are 1-D, with one element for each axis. */
  slice<T extends ElementType>(x: Value<T>, start: Ints, end: Ints, axes: readonly number[]): Value<T> {
    const cut = axesOf(this, 'Slice', x, axes);
    const [from, to] = [this.#ints(start), this.#ints(end)];
    if (![from, to].every(({ shape }) => matches(shape, [axes.length]))) {
      throw mismatch(this, 'Slice', `a start and an end for each of the axes ${axes.join(', ')}`, x, from, to);
    }
    const shape = x.shape?.map((size, axis) => (cut?.includes(axis) ? undefined : size));
    return this.#node('Slice', [x, from, to, this.constant('int64', axes)], x.elementType, shape);
  }

  /** `start, start + 1, … limit - 1`; all are 0-D. */
  range(start: Value<'int64'> | number, limit: Value<'int64'>, step: Value<'int64'> | number = 1): Value<'int64'> {
    const [from, by] = [this.#operand(start, limit), this.#operand(step, limit)];
    return this.#node('Range', [from, limit, by], 'int64', [undefined]);
  }

  /** `0, 1, … size - 1`; `size` is 1-D of one element, as `dimension` returns it. */
  countTo(size: Value<'int64'>): Value<'int64'> {
    const zero = this.constant('int64', 0);
    return withShape(this.range(zero, this.squeeze(size, [0])), [dimensionOf(size)]);
  }

  /** The indices of an axis of `x`: `0, 1, … length - 1`. */
  indices(x: Value, axis: number): Value<'int64'> {
    const size = this.dimension(x, axis);
    return withShape(this.range(0, this.squeeze(size, [0])), [size.dimension]);
  }

  /** The lower triangle of the last two axes; the rest is zero. `diagonal` as in the specification's `k`. */
  lowerTriangle(x: Value<'int64'>, diagonal: number): Value<'int64'> {
    axesOf(this, 'Trilu', x, [-2, -1]);
    return this.#node('Trilu', [x, this.constant('int64', [diagonal])], 'int64', x.shape, { upper: { int: 0 } });
  }

  // Indexing.

  /** A number as index leaves the axis out; a list or a tensor puts its dimensions there. */
  gather<T extends ElementType>(x: Value<T>, indices: Operand<'int64'>, axis: number): Value<T> {
    const index = isValue(indices) ? indices : this.constant('int64', indices);
    const picked = replaceAxis(this, 'Gather', x, axis, index.shape ?? []);
    const shape = index.shape === undefined ? undefined : picked;
    return this.#node('Gather', [x, index], x.elementType, shape, { axis: { int: axis } });
  }

  /** `indices` has as many dimensions as `x`, and the result has its shape. */
  gatherElements<T extends ElementType>(x: Value<T>, indices: Value<'int64'>, axis: number): Value<T> {
    axesOf(this, 'GatherElements', x, [axis]);
    if (x.shape !== undefined && !hasRank(indices, x.shape.length)) {
      throw mismatch(this, 'GatherElements', 'x and indices with as many dimensions', x, indices);
    }
    return this.#node('GatherElements', [x, indices], x.elementType, indices.shape, { axis: { int: axis } });
  }

  /**
   * `x` with `updates` at `indices`, which have one shape, and as many dimensions as `x`.
   * @param reduction what happens where an index is named more than once or already holds a value.
   */
  scatterElements<T extends ElementType>(
    x: Value<T>,
    indices: Value<'int64'>,
    updates: Value<T>,
    axis: number,
    reduction: 'none' | 'add' | 'min' = 'none',
  ): Value<T> {
    axesOf(this, 'ScatterElements', x, [axis]);
    const fits = indices.shape === undefined || matches(updates.shape, indices.shape);
    if (!fits || (x.shape !== undefined && !hasRank(indices, x.shape.length))) {
      const expected = 'x, and indices and updates of one shape with as many dimensions';
      throw mismatch(this, 'ScatterElements', expected, x, indices, updates);
    }
    requireOneType(this, 'ScatterElements', x, updates);
    return this.#node('ScatterElements', [x, indices, updates], x.elementType, x.shape, {
      axis: { int: axis },
      reduction: { string: reduction },
    });
  }

  /** The `count` largest values of an axis, largest first, with their positions. `count` is 1-D of one element. */
  topK<T extends Real>(
    x: Value<T>,
    count: Ints,
    axis = -1,
  ): { readonly values: Value<T>; readonly indices: Value<'int64'> } {
    const [size, ...rest] = isValue(count) ? [undefined] : count;
    if (rest.length > 0) throw new RangeError(`${nodeName(this, 'TopK')}: expected one count.`);
    const shape = replaceAxis(this, 'TopK', x, axis, [size]);
    const inputs = [x, this.#ints(count)];
    const [values, indices] = addNode(this, { operator: 'TopK', inputs, attributes: { axis: { int: axis } } }, [
      x.elementType,
      'int64',
    ]);
    return { values: withShape(values, shape), indices: withShape(indices, shape) };
  }

  /** `x / scale`, rounded to even, plus `zeroPoint`; values out of range go to the nearest end of it. */
  quantizeLinear(x: Value<'float32'>, scale: Value<'float32'>, zeroPoint: Value<'uint8'>): Value<'uint8'> {
    return this.#node('QuantizeLinear', [x, scale, zeroPoint], 'uint8', x.shape);
  }

  /** `(x - zeroPoint) * scale`: undoes `quantizeLinear`, but for the rounding. */
  dequantizeLinear(x: Value<'uint8'>, scale: Value<'float32'>, zeroPoint: Value<'uint8'>): Value<'float32'> {
    return this.#node('DequantizeLinear', [x, scale, zeroPoint], 'float32', x.shape);
  }

  // Reductions over one axis; the axis stays with size 1 when `keep` is set.

  reduceSum<T extends Numeric>(x: Value<T>, axis: number, keep = false): Value<T> {
    return this.#reduce('ReduceSum', x, axis, keep);
  }

  reduceMax<T extends Numeric>(x: Value<T>, axis: number, keep = false): Value<T> {
    return this.#reduce('ReduceMax', x, axis, keep);
  }

  reduceMin<T extends Numeric>(x: Value<T>, axis: number, keep = false): Value<T> {
    return this.#reduce('ReduceMin', x, axis, keep);
  }

  reduceLogSumExp<T extends Real>(x: Value<T>, axis: number, keep = false): Value<T> {
    return this.#reduce('ReduceLogSumExp', x, axis, keep);
  }

  cumulativeSum<T extends Numeric>(x: Value<T>, axis: number): Value<T> {
    axesOf(this, 'CumSum', x, [axis]);
    return this.#node('CumSum', [x, this.constant('int64', [axis])], x.elementType, x.shape);
  }

  // Neural network operators.

  /** `x · weightᵀ + bias` for `x` [rows, in], `weight` [out, in] and `bias` [out]: PyTorch's Linear and its weights. */
  gemm<T extends Real>(x: Value<T>, weight: Value<T>, bias?: Value<T>): Value<T> {
    const [outputs, inputs] = weight.shape ?? [];
    const fits =
      matches(x.shape, [undefined, inputs]) &&
      matches(weight.shape, [outputs, inputs]) &&
      matches(bias?.shape, [outputs]);
    if (!fits) {
      throw mismatch(this, 'Gemm', 'x [rows, in], weight [out, in] and bias [out]', x, weight, bias);
    }
    requireOneType(this, 'Gemm', x, weight, bias);
    return this.#node('Gemm', [x, weight, bias], x.elementType, [x.shape?.[0], outputs], { transB: { int: 1 } });
  }

  /** `x · weight` for `x` [rows, in] and `weight` [in, out]: a matrix that PyTorch multiplies with `@`. */
  matrixProduct<T extends Real>(x: Value<T>, weight: Value<T>): Value<T> {
    const [inputs, outputs] = weight.shape ?? [];
    if (!matches(x.shape, [undefined, inputs]) || !matches(weight.shape, [inputs, outputs]))
      throw mismatch(this, 'Gemm', 'x [rows, in] and weight [in, out]', x, weight);
    requireOneType(this, 'Gemm', x, weight);
    return this.#node('Gemm', [x, weight], x.elementType, [x.shape?.[0], outputs]);
  }

  /** Over the last axis. Mean and variance are computed in float32, whatever the type (`stash_type`). */
  layerNormalization<T extends Real>(x: Value<T>, weight: Value<T>, bias: Value<T>, epsilon: number): Value<T> {
    axesOf(this, 'LayerNormalization', x, [-1]);
    const width = x.shape?.at(-1);
    if (![weight, bias].every(({ shape }) => matches(shape, [width]))) {
      throw mismatch(this, 'LayerNormalization', 'x […, width], weight and bias [width]', x, weight, bias);
    }
    requireOneType(this, 'LayerNormalization', x, weight, bias);
    return this.#node('LayerNormalization', [x, weight, bias], x.elementType, x.shape, { epsilon: { float: epsilon } });
  }

  /** Exact (erf) GELU, or its tanh approximation. */
  gelu<T extends Real>(x: Value<T>, approximate: 'none' | 'tanh' = 'none'): Value<T> {
    return this.#elementwise('Gelu', x, { approximate: { string: approximate } });
  }

  /** `x` divided by its Euclidean length, along the last axis. */
  normalizeL2<T extends Real>(x: Value<T>): Value<T> {
    return this.#alongLastAxis('LpNormalization', x, { p: { int: 2 } });
  }

  relu<T extends Real>(x: Value<T>): Value<T> {
    return this.#elementwise('Relu', x);
  }

  sigmoid<T extends Real>(x: Value<T>): Value<T> {
    return this.#elementwise('Sigmoid', x);
  }

  softmax<T extends Real>(x: Value<T>): Value<T> {
    return this.#alongLastAxis('Softmax', x);
  }

  logSoftmax<T extends Real>(x: Value<T>): Value<T> {
    return this.#alongLastAxis('LogSoftmax', x);
  }

  /** Bicubic resize of `x` to `sizes` as Pillow does it: Catmull-Rom kernel, antialiased, edge weights renormalised. */
  resizeBicubic<T extends 'uint8' | 'float32'>(x: Value<T>, sizes: Ints): Value<T> {
    return this.#resize(x, sizes, {
      mode: { string: 'cubic' },
      antialias: { int: 1 },
      cubic_coeff_a: { float: -0.5 },
      exclude_outside: { int: 1 },
      coordinate_transformation_mode: { string: 'half_pixel' },
    });
  }

  /** Bilinear resize of `x` to `sizes` as Pillow does it: antialiased, edge weights renormalised. */
  resizeBilinear<T extends 'uint8' | 'float32'>(x: Value<T>, sizes: Ints): Value<T> {
    return this.#resize(x, sizes, {
      mode: { string: 'linear' },
      antialias: { int: 1 },
      exclude_outside: { int: 1 },
      coordinate_transformation_mode: { string: 'half_pixel' },
    });
  }

  /** `torch.nn.functional.interpolate(x, mode='bicubic', align_corners=False)` of [batch, channels, height, width]. */
  interpolateBicubic(x: Value<'float32'>, sizes: Ints): Value<'float32'> {
    return this.#resize(x, sizes, {
      mode: { string: 'cubic' },
      cubic_coeff_a: { float: -0.75 },
      coordinate_transformation_mode: { string: 'half_pixel' },
    });
  }

  // How nodes are written.

  #node<T extends ElementType>(
    operator: string,
    inputs: readonly (Value | undefined)[],
    elementType: T,
    shape: Shape | undefined,
    attributes: Readonly<Record<string, Attribute>> = {},
  ): Value<T> {
    const [output] = addNode(this, { operator, inputs, attributes }, [elementType]);
    return shape === undefined ? output : { name: output.name, elementType, shape };
  }

  #elementwise<T extends ElementType>(
    operator: string,
    x: Value<T>,
    attributes?: Readonly<Record<string, Attribute>>,
  ): Value<T> {
    return this.#node(operator, [x], x.elementType, x.shape, attributes);
  }

  #alongLastAxis<T extends Real>(
    operator: string,
    x: Value<T>,
    attributes: Readonly<Record<string, Attribute>> = {},
  ): Value<T> {
    axesOf(this, operator, x, [-1]);
    return this.#elementwise(operator, x, { axis: { int: -1 }, ...attributes });
  }

  #arithmetic<T extends Numeric>(operator: string, first: Value<T>, ...others: readonly Operand<T>[]): Value<T> {
    const values = [first, ...others.map((other) => this.#operand(other, first))];
    requireOneType(this, operator, ...values);
    return this.#node(operator, values, first.elementType, this.#broadcastShape(operator, values));
  }

  #comparison<T extends Numeric | 'bool'>(operator: string, a: Value<T>, b: Operand<T>): Value<'bool'> {
    const values = [a, this.#operand(b, a)];
    requireOneType(this, operator, ...values);
    return this.#node(operator, values, 'bool', this.#broadcastShape(operator, values));
  }

  #reduce<T extends Numeric>(operator: string, x: Value<T>, axis: number, keep: boolean): Value<T> {
    const shape = replaceAxis(this, operator, x, axis, keep ? [1] : []);
    const inputs = [x, this.constant('int64', [axis])];
    return this.#node(operator, inputs, x.elementType, shape, { keepdims: { int: keep ? 1 : 0 } });
  }

  #resize<T extends 'uint8' | 'float32'>(
    x: Value<T>,
    sizes: Ints,
    attributes: Readonly<Record<string, Attribute>>,
  ): Value<T> {
    const shape = isValue(sizes) ? x.shape?.map(() => undefined) : sizes;
    return this.#node('Resize', [x, undefined, undefined, this.#ints(sizes)], x.elementType, shape, attributes);
  }

  #operand<T extends ConstantType>(x: Operand<T>, like: Value<T>): Value<T> {
    return isValue(x) ? x : this.constant(like.elementType, x);
  }

  #ints(x: Ints): Value<'int64'> {
    return isValue(x) ? x : this.constant('int64', x);
  }

  #broadcastShape(operator: string, values: readonly Value[]): Shape | undefined {
    let shape: Shape | undefined = [];
    for (const value of values) {
      const both = broadcast(shape, value.shape);
      if (both === null) throw mismatch(this, operator, 'shapes that broadcast', ...values);
      shape = both;
    }
    return shape;
  }
}

function isValue<T extends ElementType>(x: Value<T> | number | readonly SizeOperand[]): x is Value<T> {
  return typeof x === 'object' && 'elementType' in x;
}

function hasRank({ shape }: Value, rank: number): boolean {
  return shape === undefined || shape.length === rank;
}
