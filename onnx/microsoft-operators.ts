import { addNode, type Scope, type Value } from './graph.ts';
import { MICROSOFT_DOMAIN } from './model-proto.ts';

/**
 * com.microsoft.MultiHeadAttention (onnxruntime/docs/ContribOperators.md).
 * `query` is [batch, queries, hidden]. `key` and `value` are [batch, keys, hidden], or [batch, heads, keys, size] when
 * they were split into heads before. `bias` [batch, 1, queries, keys] is added to the scores. Returns [batch, queries,
 * hidden].
 */
export function multiHeadAttention(
  scope: Scope,
  inputs: { query: Value<'float32'>; key: Value<'float32'>; value: Value<'float32'>; bias?: Value<'float32'> },
  headCount: number,
): Value<'float32'> {
  const { query, key, value, bias } = inputs;
  const [output] = addNode(
    scope,
    {
      operator: 'MultiHeadAttention',
      domain: MICROSOFT_DOMAIN,
      inputs: [query, key, value, ...(bias === undefined ? [] : [undefined, undefined, bias])],
      attributes: { num_heads: { int: headCount } },
    },
    ['float32'],
  );
  return output;
}

/**
 * The same with a cache: the new keys and values are appended to `pastKey` and `pastValue` [batch, heads, past, size],
 * and `bias` [batch, 1, queries, past + queries] is added to the scores.
 */
export function cachedMultiHeadAttention(
  scope: Scope,
  inputs: {
    query: Value<'float32'>;
    key: Value<'float32'>;
    value: Value<'float32'>;
    bias: Value<'float32'>;
    pastKey: Value<'float32'>;
    pastValue: Value<'float32'>;
  },
  headCount: number,
): { output: Value<'float32'>; presentKey: Value<'float32'>; presentValue: Value<'float32'> } {
  const { query, key, value, bias, pastKey, pastValue } = inputs;
  const [output, presentKey, presentValue] = addNode(
    scope,
    {
      operator: 'MultiHeadAttention',
      domain: MICROSOFT_DOMAIN,
      inputs: [query, key, value, undefined, undefined, bias, pastKey, pastValue],
      attributes: { num_heads: { int: headCount } },
    },
    ['float32', 'float32', 'float32'],
  );
  return { output, presentKey, presentValue };
}

/**
 * com.microsoft.MatMulIntegerToFloat: `(a - aZeroPoint) · b`, an exact product of integers, times `aScale` and
 * `bScale` [out].
 * `a` is [rows, in], `b` [in, out]; either may have axes before these. The processor's products of 8 bits are fast where
 * `a` is unsigned and `b` signed.
 */
export function matMulIntegerToFloat(
  scope: Scope,
  inputs: {
    a: Value<'uint8'>;
    aScale: Value<'float32'>;
    aZeroPoint: Value<'uint8'>;
    b: Value<'int8'>;
    bScale: Value<'float32'>;
  },
): Value<'float32'> {
  const { a, aScale, aZeroPoint, b, bScale } = inputs;
  const [output] = addNode(
    scope,
    {
      operator: 'MatMulIntegerToFloat',
      domain: MICROSOFT_DOMAIN,
      inputs: [a, b, aScale, bScale, aZeroPoint],
      attributes: {},
    },
    ['float32'],
  );
  return output;
}
