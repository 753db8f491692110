import type { Real } from '../onnx/element-type.ts';
import type { Value } from '../onnx/graph.ts';
import type { Scope } from '../onnx/scope.ts';
import { child, type Module, prepared, weight } from './module.ts';

/** Three Linears, of query, key and value, as the one that the operator Attention computes. */
export interface JoinedProjections {
  /** [in, 3 * out] */
  readonly weight: Value<Real>;
  /** [3 * out] */
  readonly bias: Value<Real>;
}

/** Three Linears that a checkpoint stores one by one, below `module`; their biases are zeros where they have none. */
export function joinProjections(
  module: Module,
  names: readonly string[],
  width: number,
  hasBias = true,
): JoinedProjections {
  const linears = names.map((name) => child(module, name));
  const weights = linears.map((linear) => weight(linear, 'weight', [width, width]));
  const biases = hasBias ? linears.map((linear) => weight(linear, 'bias', [width])) : [];
  return {
    weight: prepared(module, 'joined.weight', weights, ({ op }) =>
      op.transpose(op.concat(nonEmpty(weights), 0), [1, 0]),
    ),
    bias: prepared(module, 'joined.bias', biases, (scope) =>
      hasBias ? scope.op.concat(nonEmpty(biases), 0) : filled(scope, module.precision, 0, 3 * width),
    ),
  };
}

/** The weights of several Linears below `module`, one after the other: [count * out, in]. */
export function joinWeights(
  module: Module,
  names: readonly string[],
  shape: readonly [outputSize: number, inputSize: number],
): Value<Real> {
  const weights = names.map((name) => weight(child(module, name), 'weight', shape));
  return prepared(module, 'joined.weight', weights, ({ op }) => op.concat(nonEmpty(weights), 0));
}

/** Three Linears that a checkpoint stores as one, `module`, such as `qkv`. */
export function storedProjections(module: Module, width: number): JoinedProjections {
  const stored = weight(module, 'weight', [3 * width, width]);
  return {
    weight: prepared(module, 'transposed.weight', [stored], ({ op }) => op.transpose(stored, [1, 0])),
    bias: weight(module, 'bias', [3 * width]),
  };
}

/**
 * The bias of a query alone, as MultiHeadAttention wants it: [3 * width], with zeros for keys and values that have theirs.
 * @param query the Linear.
 */
export function queryBias(query: Module, width: number): Value<Real> {
  const bias = weight(query, 'bias', [width]);
  return prepared(query, 'padded.bias', [bias], (scope) =>
    scope.op.concat([bias, filled(scope, query.precision, 0, 2 * width)], 0),
  );
}

/** [size], of one number. CPUs, where constants are folded, fill nothing with bfloat16. */
export function filled({ op }: Scope, precision: Real, number: number, size: number): Value<Real> {
  return op.cast(op.fill('float32', number, [size]), precision);
}

function nonEmpty<T>(values: readonly T[]): readonly [T, ...T[]] {
  const [first, ...others] = values;
  if (first === undefined) throw new RangeError('Expected projections, got none.');
  return [first, ...others];
}
