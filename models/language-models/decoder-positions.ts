import type { Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import type { Scope } from '../../onnx/scope.ts';
import { type AttentionPositions, causalBias } from '../attention-bias.ts';
import type { Module } from '../module.ts';
import type { SelfAttentionContext } from './self-attention.ts';

/** Where the tokens of a decoder's step stand, and what they may look at. */

/**
 * Positions of the new tokens, and of all.
 * @param pastLength how many tokens the cache holds: [1].
 * @param embeddings [rows, tokens, hidden]: the new ones.
 */
export function tokenPositions({ op }: Scope, pastLength: Value<'int64'>, embeddings: Value<Real>): AttentionPositions {
  const first = op.squeeze(pastLength, [0]);
  const length = op.add(first, op.squeeze(op.dimension(embeddings, 1), [0]));
  const one = op.constant('int64', 1);
  return { queries: op.range(first, length, one), keys: op.range(0, length, one) };
}

/** No token looks at a later one, nor at padding, which stands before each row's first token. */
export function hideLaterAndPadding(
  decoder: Module,
  positions: AttentionPositions,
  paddingLength: Value<'int64'>,
): Pick<SelfAttentionContext, 'bias' | 'mask'> {
  if (decoder.form === 'plain') return { bias: causalBias(decoder, positions, paddingLength) };
  const { op } = decoder;
  const isText = op.greaterOrEqual(op.unsqueeze(positions.keys, [0]), op.unsqueeze(paddingLength, [1]));
  return { mask: op.cast(isText, 'int32') };
}

/** Positions [rows, tokens] that count from each row's first token. Those of padding are 0: nothing looks there. */
export function fromFirstToken(
  { op }: Scope,
  { queries }: AttentionPositions,
  paddingLength: Value<'int64'>,
): Value<'int64'> {
  return op.max(op.sub(op.unsqueeze(queries, [0]), op.unsqueeze(paddingLength, [1])), [0]);
}

/** The positions of the new tokens among all: the first, and the one after the last. `pastLength` is [1]. */
export function readRange({ op }: Scope, pastLength: Value<'int64'>, embeddings: Value<Real>) {
  return { first: pastLength, end: op.add(pastLength, op.dimension(embeddings, 1)) };
}
