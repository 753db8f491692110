import { createHash } from 'node:crypto';
import { toBfloat16Bits } from '../numbers/to-bfloat16.ts';
import { toFloat16Bits } from '../numbers/to-float16.ts';
import type { ElementType } from './element-type.ts';
import { addInitializer, type Graph, type Value } from './graph.ts';

/** Types that a number or a truth value in the source text can become. */
export type ConstantType = Exclude<ElementType, 'int8'>;

export type Literal = number | boolean | readonly number[];

const encoders: Readonly<Record<ConstantType, (values: readonly number[]) => ArrayBufferView>> = {
  float32: (values) => Float32Array.from(values),
  float16: (values) => Uint16Array.from(values, toFloat16Bits),
  bfloat16: (values) => toBfloat16Bits(Float32Array.from(values)),
  int64: (values) => BigInt64Array.from(values, BigInt),
  int32: (values) => Int32Array.from(values),
  uint8: (values) => Uint8Array.from(values),
  bool: (values) => Uint8Array.from(values),
};

/** A name that shows more numbers than this would be read by nobody, and each node that uses it repeats it. */
const MAX_SHOWN_NUMBERS = 64;

function labelOf(literal: Literal): string {
  if (typeof literal !== 'object') return String(literal);
  if (literal.length <= MAX_SHOWN_NUMBERS) return literal.join(',');
  return createHash('sha256').update(Float64Array.from(literal)).digest('hex');
}

/**
 * A tensor that is written into the graph itself: 0-D from one number, 1-D from a list, unless a shape is given.
 * Equal constants are stored once.
 */
export function constant<T extends ConstantType>(
  graph: Graph,
  elementType: T,
  literal: Literal,
  shape: readonly number[] = typeof literal === 'object' ? [literal.length] : [],
): Value<T> {
  const name = `constant.${elementType}[${shape.join(',')}](${labelOf(literal)})`;
  if (graph.initializers.has(name)) return { name, elementType, shape };
  const { buffer, byteOffset, byteLength } = encoders[elementType](
    typeof literal === 'object' ? literal : [Number(literal)],
  );
  return addInitializer(graph, name, elementType, shape, new Uint8Array(buffer, byteOffset, byteLength));
}
