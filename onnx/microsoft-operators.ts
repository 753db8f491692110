import type { Real } from './element-type.ts';
import { mismatch, requireOneType, withShape } from './fit.ts';
import { addNode, type Place, type Value } from './graph.ts';
import { MICROSOFT_DOMAIN } from './model-proto.ts';
import { type Dimension, matches, type Shape } from './shape.ts';

interface AttentionInputs<T extends Real> {
  /** [batch, queries, hidden] */
  readonly query: Value<T>;
  /** [batch, keys, hidden], or [batch, heads, keys, size] where they were split into heads before. */
  readonly key: Value<T>;
  readonly value: Value<T>;
  /** [batch, heads, queries, keys], where batch and heads may be 1: added to the scores. */
  readonly bias?: Value<T>;
}

/** With a cache, keys are those of the cache and the new ones. */
interface CachedAttentionInputs<T extends Real> extends AttentionInputs<T> {
  readonly bias: Value<T>;
  /** [batch, heads, past, size] */
  readonly pastKey: Value<T>;
  readonly pastValue: Value<T>;
}

/**
 * Operators of com.microsoft, bound to a place as the others are. Source: onnxruntime/docs/ContribOperators.md.
 * @throws RangeError when types or known shapes do not fit; the message has the node's name and the shapes.
 */
export class MicrosoftOperators {
  readonly #place: Place;

  constructor(place: Place) {
    this.#place = place;
  }

  /** MultiHeadAttention. Returns [batch, queries, hidden]. */
  multiHeadAttention<T extends Real>(inputs: AttentionInputs<T>, headCount: number): Value<T> {
    const { query, key, value, bias } = inputs;
    requireOneType(this.#place, 'MultiHeadAttention', query, key, value, bias);
    this.#requireAttention(inputs, headCount);
    const [output] = addNode(
      this.#place,
      {
        operator: 'MultiHeadAttention',
        domain: MICROSOFT_DOMAIN,
        inputs: [query, key, value, ...(bias === undefined ? [] : [undefined, undefined, bias])],
        attributes: { num_heads: { int: headCount } },
      },
      [query.elementType],
    );
    return withShape(output, query.shape);
  }

  /** MultiHeadAttention with a cache: the new keys and values are appended to those of the past. */
  cachedMultiHeadAttention<T extends Real>(
    inputs: CachedAttentionInputs<T>,
    headCount: number,
  ): { readonly output: Value<T>; readonly presentKey: Value<T>; readonly presentValue: Value<T> } {
    const { query, key, value, bias, pastKey, pastValue } = inputs;
    requireOneType(this.#place, 'MultiHeadAttention', query, key, value, bias, pastKey, pastValue);
    this.#requireAttention(inputs, headCount, [pastKey, pastValue]);
    const { elementType } = query;
    const [output, presentKey, presentValue] = addNode(
      this.#place,
      {
        operator: 'MultiHeadAttention',
        domain: MICROSOFT_DOMAIN,
        inputs: [query, key, value, undefined, undefined, bias, pastKey, pastValue],
        attributes: { num_heads: { int: headCount } },
      },
      [elementType, elementType, elementType],
    );
    return { output: withShape(output, query.shape), presentKey, presentValue };
  }

  /**
   * MatMulIntegerToFloat: `(a - aZeroPoint) · b`, an exact product of integers, times `aScale` and `bScale` [out].
   * `a` is [rows, in], `b` [in, out]. The processor's products of 8 bits are fast where `a` is unsigned and `b` signed.
   */
  matMulIntegerToFloat(inputs: {
    readonly a: Value<'uint8'>;
    readonly aScale: Value<'float32'>;
    readonly aZeroPoint: Value<'uint8'>;
    readonly b: Value<'int8'>;
    readonly bScale: Value<'float32'>;
  }): Value<'float32'> {
    const { a, aScale, aZeroPoint, b, bScale } = inputs;
    const operator = 'MatMulIntegerToFloat';
    const [inputSize, outputSize] = b.shape ?? [];
    const fits =
      matches(a.shape, [undefined, inputSize]) &&
      matches(b.shape, [inputSize, outputSize]) &&
      matches(bScale.shape, [outputSize]);
    if (!fits) {
      throw mismatch(this.#place, operator, 'a [rows, in], b [in, out] and its scale [out]', a, b, bScale);
    }
    const [output] = addNode(
      this.#place,
      { operator, domain: MICROSOFT_DOMAIN, inputs: [a, b, aScale, bScale, aZeroPoint], attributes: {} },
      ['float32'],
    );
    return withShape(output, a.shape === undefined ? undefined : [a.shape[0], outputSize]);
  }

  #requireAttention(inputs: AttentionInputs<Real>, headCount: number, past: readonly Value[] = []): void {
    if (attentionFits(inputs, headCount, past)) return;
    const { query, key, value, bias } = inputs;
    const split = `[batch, ${headCount}, keys, width / ${headCount}]`;
    const expected =
      `query [batch, queries, width], key and value [batch, keys, width] or ${split}, ` +
      `${past.length === 0 ? '' : `past ${split} `}and bias [batch, heads, queries, keys]`;
    throw mismatch(this.#place, 'MultiHeadAttention', expected, query, key, value, ...past, bias);
  }
}

function attentionFits(
  { query, key, value, bias }: AttentionInputs<Real>,
  headCount: number,
  past: readonly Value[],
): boolean {
  const [batch, queryCount, width] = query.shape ?? [];
  const headSize = typeof width === 'number' ? width / headCount : undefined;
  if (headSize !== undefined && !Number.isInteger(headSize)) return false;
  const inHeads = (count: Dimension | undefined) => [batch, headCount, count, headSize];
  const keyCount = lengthOf(key);
  const pastCount = past.length === 0 ? 0 : past[0]?.shape?.[2];
  const allKeys = typeof keyCount === 'number' && typeof pastCount === 'number' ? pastCount + keyCount : undefined;
  return (
    matches(query.shape, [batch, queryCount, width]) &&
    [key, value].every(({ shape }) =>
      matches(shape, shape?.length === 4 ? inHeads(keyCount) : [batch, keyCount, width]),
    ) &&
    past.every(({ shape }) => matches(shape, inHeads(pastCount))) &&
    biasFits(bias?.shape, [batch, headCount, queryCount, allKeys])
  );
}

/** How many tokens a key has, whether it is split into heads or not. */
function lengthOf({ shape }: Value): Dimension | undefined {
  return shape?.at(-2);
}

/** A bias of 1 in one of the first two dimensions holds for the whole batch, or for all heads. */
function biasFits(shape: Shape | undefined, [batch, heads, ...rest]: Shape): boolean {
  return matches(shape, [shape?.[0] === 1 ? 1 : batch, shape?.[1] === 1 ? 1 : heads, ...rest]);
}
