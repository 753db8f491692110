import type { Real } from '../onnx/element-type.ts';
import { lowestFinite } from '../onnx/element-type.ts';
import type { Value } from '../onnx/graph.ts';
import type { Module } from './module.ts';

/**
 * Biases are added to the scores of attention. They are zero where a token may look, and elsewhere the lowest number of
 * the type, which leaves a probability of exactly zero.
 */

/** Positions, padding included, of the tokens that look, [queries], and of those that they may look at, [keys]. */
export interface AttentionPositions {
  readonly queries: Value<'int64'>;
  readonly keys: Value<'int64'>;
}

/**
 * No token looks at a later one.
 * @param paddingLength [rows]: how many tokens of padding stand before the first token of each row; nothing looks there.
 * @returns [1, 1, queries, keys], or [rows, 1, queries, keys] where there is padding.
 */
export function causalBias(module: Module, positions: AttentionPositions, paddingLength?: Value<'int64'>): Value<Real> {
  const { op } = module;
  const keys = op.unsqueeze(positions.keys, [0, 1, 2]); // [1, 1, 1, keys]
  const later = op.greater(keys, op.unsqueeze(positions.queries, [0, 1, 3])); // [1, 1, queries, keys]
  if (paddingLength === undefined) return biasWhere(module, later);
  const padding = op.less(keys, op.unsqueeze(paddingLength, [1, 2, 3])); // [rows, 1, 1, keys]
  return biasWhere(module, op.or(later, padding));
}

/**
 * Padding on the right: nothing looks beyond the length of its row.
 * @param keys any value whose axis 1 has the keys.
 * @param length [rows].
 * @returns [rows, 1, 1, keys].
 */
export function paddingBias(module: Module, keys: Value, length: Value<'int64'>): Value<Real> {
  const { op, precision } = module;
  const positions = op.unsqueeze(op.indices(keys, 1), [0, 1, 2]); // [1, 1, 1, keys]
  const isText = op.less(positions, op.unsqueeze(length, [1, 2, 3]));
  return op.where(isText, op.constant(precision, 0), lowestFinite[precision]);
}

function biasWhere({ op, precision }: Module, hidden: Value<'bool'>): Value<Real> {
  return op.where(hidden, op.constant(precision, lowestFinite[precision]), 0);
}
