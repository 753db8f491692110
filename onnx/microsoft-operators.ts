import type { Real } from './element-type.ts';
import { mismatch, requireOneType, withShape } from './fit.ts';
import { addNode, type Place, type Value } from './graph.ts';
import { MICROSOFT_DOMAIN } from './model-proto.ts';
import { differ, type Shape } from './shape.ts';

/** `bias` [batch, 1, queries, keys] is added to the scores. */
interface AttentionInputs<T extends Real> {
  /** [batch, queries, hidden] */
  readonly query: Value<T>;
  /** [batch, keys, hidden], or [batch, heads, keys, size] where they were split into heads before. */
  readonly key: Value<T>;
  readonly value: Value<T>;
  readonly bias?: Value<T>;
}

/** With a cache, keys are those of the cache and the new ones. */
interface CachedAttentionInputs<T extends Real> extends AttentionInputs<T> {
  readonly bias: Value<T>;
  /** [batch, heads, past, size] */
  readonly pastKey: Value<T>;
  readonly pastValue: Value<T>;
}

/** Operators of com.microsoft, bound to a place as the others are. Source: onnxruntime/docs/ContribOperators.md. */
export class MicrosoftOperators {
  readonly #place: Place;

  constructor(place: Place) {
    this.#place = place;
  }

  /** MultiHeadAttention. Returns [batch, queries, hidden]. */
  multiHeadAttention<T extends Real>(inputs: AttentionInputs<T>, headCount: number): Value<T> {
    const { query, key, value, bias } = inputs;
    requireOneType(this.#place, 'MultiHeadAttention', query, key, value, bias);
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
    if (differ(a.shape?.at(-1), b.shape?.at(-2)) || differ(b.shape?.at(-1), bScale.shape?.at(-1))) {
      throw mismatch(this.#place, operator, 'a [rows, in], b [in, out] and its scale [out]', a, b, bScale);
    }
    const [output] = addNode(
      this.#place,
      { operator, domain: MICROSOFT_DOMAIN, inputs: [a, b, aScale, bScale, aZeroPoint], attributes: {} },
      ['float32'],
    );
    const shape: Shape | undefined = a.shape === undefined ? undefined : [...a.shape.slice(0, -1), b.shape?.at(-1)];
    return withShape(output, shape);
  }
}
