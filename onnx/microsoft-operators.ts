import type { Real } from './element-type.ts';
import { mismatch, requireOneType, withShape } from './fit.ts';
import { addNode, type NodeDescription, type Place, type Value } from './graph.ts';
import { MICROSOFT_DOMAIN } from './model-proto.ts';
import { type Dimension, differ, matches, type Shape } from './shape.ts';

interface AttentionInputs<T extends Real> {
  /** [batch, queries, hidden] */
  readonly query: Value<T>;
  /** [batch, keys, hidden], or [batch, heads, keys, size] where they were split into heads before. */
  readonly key: Value<T>;
  readonly value: Value<T>;
  /** [batch, heads, queries, keys], where batch and heads may be 1: added to the scores. */
  readonly bias?: Value<T>;
  /** [3 * width]: added to query, key and value; keys that were split into heads before take none. */
  readonly projectionBias?: Value<T>;
  /** Of the products of queries and keys; `headSize ** -0.5` unless it is given. */
  readonly scale?: number;
}

/** Self-attention with its projections: those of query, key and value are one matrix. */
interface SelfAttentionInputs<T extends Real> {
  /** [batch, tokens, in] */
  readonly x: Value<T>;
  /** [in, 3 * width] */
  readonly weight: Value<T>;
  /** [3 * width] */
  readonly projectionBias: Value<T>;
  /**
   * [batch]: how many keys are looked at; or [2 * batch]: where those end, and then where they begin; or [batch, keys]:
   * 1 for those that are, 0 for others.
   */
  readonly mask?: Value<'int32'>;
  /** [2, batch, heads, past, size]: keys, then values. */
  readonly past?: Value<T>;
}

/** With a cache, keys are those of the cache and the new ones. */
interface CachedAttentionInputs<T extends Real> extends AttentionInputs<T> {
  readonly bias: Value<T>;
  /** [batch, heads, past, size] */
  readonly pastKey: Value<T>;
  readonly pastValue: Value<T>;
}

interface BlockProductInputs {
  readonly x: Value<'float32'>;
  readonly b: Value<'uint8'>;
  readonly bScale: Value<'float32'>;
  readonly bZeroPoint?: Value<'uint8'> | undefined;
  readonly inputSize: number;
  readonly bias?: Value<'float32'> | undefined;
  /** 8 unless it is given. */
  readonly bits?: 4 | 8;
}

/** A residual connection and the norm after it. */
interface SkipInputs<T extends Real> {
  readonly x: Value<T>;
  /** Of the shape of `x`, but for the first dimension, which may be absent or 1. */
  readonly skip: Value<T>;
  readonly weight: Value<T>;
  readonly normBias: Value<T>;
  readonly bias?: Value<T>;
  readonly epsilon: number;
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
    const { query, key, value, bias, projectionBias, scale } = inputs;
    requireOneType(this.#place, 'MultiHeadAttention', query, key, value, bias, projectionBias);
    this.#requireAttention(inputs, headCount);
    const [output] = addNode(
      this.#place,
      {
        operator: 'MultiHeadAttention',
        domain: MICROSOFT_DOMAIN,
        inputs: withoutAbsentLast([query, key, value, projectionBias, undefined, bias]),
        attributes: attentionAttributes(headCount, scale),
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
    const { query, key, value, bias, pastKey, pastValue, scale } = inputs;
    requireOneType(this.#place, 'MultiHeadAttention', query, key, value, bias, pastKey, pastValue);
    this.#requireAttention(inputs, headCount, [pastKey, pastValue]);
    const { elementType } = query;
    const [output, presentKey, presentValue] = addNode(
      this.#place,
      {
        operator: 'MultiHeadAttention',
        domain: MICROSOFT_DOMAIN,
        inputs: [query, key, value, undefined, undefined, bias, pastKey, pastValue],
        attributes: attentionAttributes(headCount, scale),
      },
      [elementType, elementType, elementType],
    );
    return { output: withShape(output, query.shape), presentKey, presentValue };
  }

  /** Attention. `isCausal`: no token looks at a later one. Returns [batch, tokens, width]. */
  selfAttention<T extends Real>(
    inputs: Omit<SelfAttentionInputs<T>, 'past'>,
    options: { readonly headCount: number; readonly isCausal: boolean },
  ): Value<T> {
    const [output] = addNode(this.#place, this.#selfAttention(inputs, options), [inputs.x.elementType]);
    return withShape(output, selfAttentionShape(inputs));
  }

  /** Attention with a cache: new keys and values are appended to `past`, which `present` is with them. */
  cachedSelfAttention<T extends Real>(
    inputs: SelfAttentionInputs<T> & { readonly past: Value<T> },
    options: { readonly headCount: number; readonly isCausal: boolean },
  ): { readonly output: Value<T>; readonly present: Value<T> } {
    const { elementType } = inputs.x;
    const [output, present] = addNode(this.#place, this.#selfAttention(inputs, options), [elementType, elementType]);
    return { output: withShape(output, selfAttentionShape(inputs)), present };
  }

  /** SkipLayerNormalization: the layer norm of `x + bias + skip` over the last axis. */
  skipLayerNormalization<T extends Real>(inputs: SkipInputs<T>): Value<T> {
    const [normalized] = addNode(this.#place, this.#skipLayerNormalization(inputs), [inputs.x.elementType]);
    return withShape(normalized, inputs.x.shape);
  }

  /** SkipLayerNormalization that returns the sum as well. */
  sumAndLayerNormalization<T extends Real>(
    inputs: SkipInputs<T>,
  ): { readonly normalized: Value<T>; readonly sum: Value<T> } {
    const { elementType, shape } = inputs.x;
    // The two outputs between them, mean and variance, are for training.
    const description = { ...this.#skipLayerNormalization(inputs), outputPositions: [0, 3] };
    const [normalized, sum] = addNode(this.#place, description, [elementType, elementType]);
    return { normalized: withShape(normalized, shape), sum: withShape(sum, shape) };
  }

  /**
   * SkipSimplifiedLayerNormalization: the sum `x + skip`, and the sum divided by its root mean square over the last axis,
   * times `weight`.
   */
  sumAndRootMeanSquareNormalization<T extends Real>(
    inputs: Pick<SkipInputs<T>, 'x' | 'skip' | 'weight' | 'epsilon'>,
  ): { readonly normalized: Value<T>; readonly sum: Value<T> } {
    const { x, skip, weight, epsilon } = inputs;
    const operator = 'SkipSimplifiedLayerNormalization';
    requireOneType(this.#place, operator, x, skip, weight);
    const width = x.shape?.at(-1);
    if (differ(skip.shape?.at(-1), width) || !matches(weight.shape, [width]))
      throw mismatch(this.#place, operator, 'x and skip […, width], weight [width]', x, skip, weight);
    const description = { operator, domain: MICROSOFT_DOMAIN, inputs: [x, skip, weight], outputPositions: [0, 3] };
    const attributes = { epsilon: { float: epsilon } };
    const { elementType, shape } = x;
    const [normalized, sum] = addNode(this.#place, { ...description, attributes }, [elementType, elementType]);
    return { normalized: withShape(normalized, shape), sum: withShape(sum, shape) };
  }

  /**
   * RotaryEmbedding of [batch, tokens, heads * size]: the two halves of each head are turned by the angles of its position.
   * `positions` is [batch, tokens]; `cosines` and `sines` [positions, size / 2].
   */
  rotaryEmbedding<T extends Real>(
    x: Value<T>,
    positions: Value<'int64'>,
    cosines: Value<T>,
    sines: Value<T>,
  ): Value<T> {
    requireOneType(this.#place, 'RotaryEmbedding', x, cosines, sines);
    const half = cosines.shape?.[1];
    const fits = matches(sines.shape, [undefined, half]) && matches(positions.shape, [x.shape?.[0], undefined]);
    if (!fits) {
      const expected = 'x [batch, tokens, width], positions [batch, tokens], cosines and sines [positions, size / 2]';
      throw mismatch(this.#place, 'RotaryEmbedding', expected, x, positions, cosines, sines);
    }
    const description = {
      operator: 'RotaryEmbedding',
      domain: MICROSOFT_DOMAIN,
      inputs: [x, positions, cosines, sines],
    };
    const [output] = addNode(this.#place, { ...description, attributes: { interleaved: { int: 0 } } }, [x.elementType]);
    return withShape(output, x.shape);
  }

  /** BiasGelu: the exact (erf) GELU of `x + bias`. */
  biasGelu<T extends Real>(x: Value<T>, bias: Value<T>): Value<T> {
    return this.#withBias('BiasGelu', x, bias);
  }

  /** FastGelu: the GELU of `x + bias` by its tanh approximation. */
  fastGelu<T extends Real>(x: Value<T>, bias: Value<T>): Value<T> {
    return this.#withBias('FastGelu', x, bias);
  }

  /** QuickGelu: `x * sigmoid(alpha * x)`. */
  quickGelu<T extends Real>(x: Value<T>, alpha: number): Value<T> {
    const description = { operator: 'QuickGelu', domain: MICROSOFT_DOMAIN, inputs: [x] };
    const [output] = addNode(this.#place, { ...description, attributes: { alpha: { float: alpha } } }, [x.elementType]);
    return withShape(output, x.shape);
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
   * MatMulNBits of 8 or 4 bits: `x · weightᵀ + bias`, where weight[o, i] = (`b`[o, i] - zero point) * `bScale`[o, block of
   * i]. Each row of `x` is rounded to int8 as well, in steps of its own for each block (`accuracy_level` 4).
   * `x` is [rows, in]; `b` [out, blocks, block] or, of 4 bits, [out, blocks, block / 2]: the lower half of a byte is the
   * first. The last block may be filled up with any values. `bScale` is [out * blocks]; `bias` [out]. `bZeroPoint` has
   * 4 bits as well, [out * ceil(blocks / 2)]; without it zero is the middle, 128 or 8.
   */
  matMulBlocks(inputs: BlockProductInputs): Value<'float32'> {
    const { x, b, bScale, bZeroPoint, inputSize, bias, bits = 8 } = inputs;
    const operator = 'MatMulNBits';
    const [outputSize = 0, , blockBytes = 0] = sizesOf(b);
    const blockSize = (blockBytes * 8) / bits;
    if (!blockProductFits(inputs, blockSize)) {
      const expected =
        `x [rows, ${inputSize}], b [out, blocks, ${bits === 8 ? 'block' : 'block / 2'}], its scale [out * blocks], ` +
        'its zero point [out * ceil(blocks / 2)] and bias [out]';
      throw mismatch(this.#place, operator, expected, x, b, bScale, bZeroPoint, bias);
    }
    const [output] = addNode(
      this.#place,
      {
        operator,
        domain: MICROSOFT_DOMAIN,
        inputs: withoutAbsentLast([x, b, bScale, bZeroPoint, undefined, bias]),
        attributes: {
          K: { int: inputSize },
          N: { int: outputSize },
          bits: { int: bits },
          block_size: { int: blockSize },
          accuracy_level: { int: 4 },
        },
      },
      ['float32'],
    );
    return withShape(output, [x.shape?.[0], outputSize]);
  }

  #selfAttention(
    inputs: SelfAttentionInputs<Real>,
    options: { readonly headCount: number; readonly isCausal: boolean },
  ): NodeDescription {
    const { x, weight, projectionBias, mask, past } = inputs;
    const { headCount, isCausal } = options;
    requireOneType(this.#place, 'Attention', x, weight, projectionBias, past);
    if (!selfAttentionFits(inputs, headCount)) {
      const expected =
        `x [batch, tokens, in], weight [in, 3 * width], its bias [3 * width], ` +
        `and past [2, batch, ${headCount}, past, width / ${headCount}]`;
      throw mismatch(this.#place, 'Attention', expected, x, weight, projectionBias, past);
    }
    return {
      operator: 'Attention',
      domain: MICROSOFT_DOMAIN,
      inputs: withoutAbsentLast([x, weight, projectionBias, mask, past]),
      attributes: { num_heads: { int: headCount }, unidirectional: { int: isCausal ? 1 : 0 } },
    };
  }

  #skipLayerNormalization({ x, skip, weight, normBias, bias, epsilon }: SkipInputs<Real>): NodeDescription {
    const operator = 'SkipLayerNormalization';
    requireOneType(this.#place, operator, x, skip, weight, normBias, bias);
    const width = x.shape?.at(-1);
    const vectors = [weight, normBias, bias];
    if (differ(skip.shape?.at(-1), width) || !vectors.every((vector) => matches(vector?.shape, [width]))) {
      throw mismatch(this.#place, operator, 'x and skip […, width], weight and biases [width]', x, skip, ...vectors);
    }
    const inputs = withoutAbsentLast([x, skip, weight, normBias, bias]);
    return { operator, domain: MICROSOFT_DOMAIN, inputs, attributes: { epsilon: { float: epsilon } } };
  }

  #withBias<T extends Real>(operator: string, x: Value<T>, bias: Value<T>): Value<T> {
    requireOneType(this.#place, operator, x, bias);
    if (!matches(bias.shape, [x.shape?.at(-1)])) {
      throw mismatch(this.#place, operator, 'x […, width] and bias [width]', x, bias);
    }
    const description = { operator, domain: MICROSOFT_DOMAIN, inputs: [x, bias] };
    const [output] = addNode(this.#place, description, [x.elementType]);
    return withShape(output, x.shape);
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

function attentionAttributes(headCount: number, scale: number | undefined): NonNullable<NodeDescription['attributes']> {
  return { num_heads: { int: headCount }, ...(scale === undefined ? {} : { scale: { float: scale } }) };
}

/** Optional inputs that are absent at the end are left out, as ONNX wants it. */
function withoutAbsentLast(inputs: readonly (Value | undefined)[]): readonly (Value | undefined)[] {
  return inputs.slice(0, inputs.findLastIndex((input) => input !== undefined) + 1);
}

function selfAttentionShape({ x, weight }: SelfAttentionInputs<Real>): Shape | undefined {
  const joined = weight.shape?.[1];
  const width = typeof joined === 'number' ? joined / 3 : undefined;
  return x.shape === undefined ? undefined : [x.shape[0], x.shape[1], width];
}

function selfAttentionFits({ x, weight, projectionBias, past }: SelfAttentionInputs<Real>, headCount: number): boolean {
  const [inputSize, joined] = weight.shape ?? [];
  const headSize = typeof joined === 'number' ? joined / 3 / headCount : undefined;
  return (
    (headSize === undefined || Number.isInteger(headSize)) &&
    matches(x.shape, [undefined, undefined, inputSize]) &&
    matches(weight.shape, [inputSize, joined]) &&
    matches(projectionBias.shape, [joined]) &&
    matches(past?.shape, [2, x.shape?.[0], headCount, undefined, headSize])
  );
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

function blockProductFits(
  { x, b, bScale, bZeroPoint, inputSize, bias }: BlockProductInputs,
  blockSize: number,
): boolean {
  const [outputSize = 0, blockCount = 0] = sizesOf(b);
  return (
    matches(x.shape, [undefined, inputSize]) &&
    blockCount === Math.ceil(inputSize / blockSize) &&
    matches(bScale.shape, [outputSize * blockCount]) &&
    matches(bZeroPoint?.shape, [outputSize * Math.ceil(blockCount / 2)]) &&
    matches(bias?.shape, [outputSize])
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
