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
   * MatMulIntegerToFloat: `(a - aZeroPoint) · b`, an exact product of integers, times `aScale` and `bScale` [out], plus
   * `bias` [out]. `a` is [rows, in], `b` [in, out]. The processor's products of 8 bits are fast where `a` is unsigned and
   * `b` signed.
   */
  matMulIntegerToFloat(inputs: {
    readonly a: Value<'uint8'>;
    readonly aScale: Value<'float32'>;
    readonly aZeroPoint: Value<'uint8'>;
    readonly b: Value<'int8'>;
    readonly bScale: Value<'float32'>;
    readonly bias?: Value<'float32'>;
  }): Value<'float32'> {
    const { a, aScale, aZeroPoint, b, bScale, bias } = inputs;
    const operator = 'MatMulIntegerToFloat';
    const [inputSize, outputSize] = b.shape ?? [];
    const fits =
      matches(a.shape, [undefined, inputSize]) &&
      matches(b.shape, [inputSize, outputSize]) &&
      [bScale, bias].every((value) => matches(value?.shape, [outputSize]));
    if (!fits) {
      const expected = 'a [rows, in], b [in, out], its scale and bias [out]';
      throw mismatch(this.#place, operator, expected, a, b, bScale, bias);
    }
    const [output] = addNode(
      this.#place,
      {
        operator,
        domain: MICROSOFT_DOMAIN,
        inputs: [a, b, aScale, bScale, aZeroPoint, ...(bias === undefined ? [] : [undefined, bias])],
        attributes: {},
      },
      ['float32'],
    );
    return withShape(output, a.shape === undefined ? undefined : [a.shape[0], outputSize]);
  }

  /**
   * MatMulNBits of 8 bits: `x · weightᵀ + bias`, where weight[o, i] = (`b`[o, i] - 128) * `bScale`[o, block of i]. Each
   * row of `x` is rounded to int8 as well, in steps of its own for each block (`accuracy_level` 4).
   * `x` is [rows, in]; `b` [out, blocks, block], where the last block may be filled up with any values; `bScale`
   * [out * blocks]; `bias` [out].
   */
  matMulBlocks(inputs: {
    readonly x: Value<'float32'>;
    readonly b: Value<'uint8'>;
    readonly bScale: Value<'float32'>;
    readonly inputSize: number;
    readonly bias: Value<'float32'>;
  }): Value<'float32'> {
    const { x, b, bScale, inputSize, bias } = inputs;
    const operator = 'MatMulNBits';
    const [outputSize = 0, blockCount = 0, blockSize = 0] = sizesOf(b);
    const fits =
      matches(x.shape, [undefined, inputSize]) &&
      blockCount === Math.ceil(inputSize / blockSize) &&
      matches(bScale.shape, [outputSize * blockCount]) &&
      matches(bias.shape, [outputSize]);
    if (!fits) {
      const expected = `x [rows, ${inputSize}], b [out, blocks, block], its scale [out * blocks] and bias [out]`;
      throw mismatch(this.#place, operator, expected, x, b, bScale, bias);
    }
    const [output] = addNode(
      this.#place,
      {
        operator,
        domain: MICROSOFT_DOMAIN,
        inputs: [x, b, bScale, undefined, undefined, bias],
        attributes: {
          K: { int: inputSize },
          N: { int: outputSize },
          bits: { int: 8 },
          block_size: { int: blockSize },
          accuracy_level: { int: 4 },
        },
      },
      ['float32'],
    );
    return withShape(output, [x.shape?.[0], outputSize]);
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

/** The dimensions of a weight, whose shape is known. */
function sizesOf({ shape }: Value): readonly number[] {
  return (shape ?? []).flatMap((size) => (typeof size === 'number' ? [size] : []));
}

/** How many tokens a key has, whether it is split into heads or not. */
function lengthOf({ shape }: Value): Dimension | undefined {
  return shape?.at(-2);
}

/** A bias of 1 in one of the first two dimensions holds for the whole batch, or for all heads. */
function biasFits(shape: Shape | undefined, [batch, heads, ...rest]: Shape): boolean {
  return matches(shape, [shape?.[0] === 1 ? 1 : batch, shape?.[1] === 1 ? 1 : heads, ...rest]);
}
