import type { ElementType } from './element-type.ts';
import { addInitializer, type Scope, type Value } from './graph.ts';

function addConstant<T extends ElementType>(
  scope: Scope,
  elementType: T,
  shape: readonly number[],
  label: string,
  data: Uint8Array,
): Value<T> {
  return addInitializer(scope.graph, `constant.${elementType}[${shape.join(',')}](${label})`, elementType, shape, data);
}

function bytesOf(array: BigInt64Array | Float32Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** A 1-D int64 tensor: shapes, axes, indices. Equal constants are stored once. */
export function int64s(scope: Scope, values: readonly number[]): Value<'int64'> {
  return addConstant(scope, 'int64', [values.length], values.join(','), bytesOf(BigInt64Array.from(values, BigInt)));
}

/** A 0-D int64 tensor. */
export function int64(scope: Scope, value: number): Value<'int64'> {
  return addConstant(scope, 'int64', [], String(value), bytesOf(BigInt64Array.of(BigInt(value))));
}

/** A 0-D float32 tensor. */
export function float32(scope: Scope, value: number): Value<'float32'> {
  return addConstant(scope, 'float32', [], String(value), bytesOf(Float32Array.of(value)));
}

/** A float32 tensor of the given shape. */
export function float32s(
  scope: Scope,
  values: readonly number[],
  shape: readonly number[] = [values.length],
): Value<'float32'> {
  return addConstant(scope, 'float32', shape, values.join(','), bytesOf(Float32Array.from(values)));
}

/** A 0-D bool tensor. */
export function bool(scope: Scope, value: boolean): Value<'bool'> {
  return addConstant(scope, 'bool', [], String(value), Uint8Array.of(value ? 1 : 0));
}

/** A 0-D uint8 tensor. */
export function uint8(scope: Scope, value: number): Value<'uint8'> {
  return addConstant(scope, 'uint8', [], String(value), Uint8Array.of(value));
}
