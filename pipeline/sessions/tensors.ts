import type { RuntimeTensor } from './runtime.ts';

/** Tensors from plain numbers, and back. */

export function runtimeInt64s(values: readonly number[], shape: readonly number[] = [values.length]): RuntimeTensor {
  return { data: BigInt64Array.from(values, BigInt), shape };
}

/** A scalar. */
export function runtimeFloat32(value: number): RuntimeTensor {
  return { data: Float32Array.of(value), shape: [] };
}

/** The data of an output, which must be float32. */
export function float32Data(outputs: Readonly<Record<string, RuntimeTensor>>, name: string): Float32Array {
  const data = outputs[name]?.data;
  if (data instanceof Float32Array) return data;
  throw new TypeError(`Expected the graph to return ${name} as float32.`);
}

export function int64Data(outputs: Readonly<Record<string, RuntimeTensor>>, name: string): BigInt64Array {
  const data = outputs[name]?.data;
  if (data instanceof BigInt64Array) return data;
  throw new TypeError(`Expected the graph to return ${name} as int64.`);
}

/** Rows of token ids in one tensor int64 [rows, longest], padded on the right with 0, and their lengths [rows]. */
export function paddedRows(rows: readonly (readonly number[])[]): {
  readonly ids: RuntimeTensor;
  readonly lengths: RuntimeTensor;
} {
  const longest = Math.max(...rows.map((row) => row.length));
  const padded = rows.flatMap((row) => [...row, ...Array.from({ length: longest - row.length }, () => 0)]);
  return { ids: runtimeInt64s(padded, [rows.length, longest]), lengths: runtimeInt64s(rows.map((row) => row.length)) };
}

/** Joins all parts to one array. */
export function joined(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((length, part) => length + part.length, 0));
  let start = 0;
  for (const part of parts) {
    whole.set(part, start);
    start += part.length;
  }
  return whole;
}

/** Splits the list into parts of at most `size` items. */
export function parts<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) =>
    items.slice(index * size, (index + 1) * size),
  );
}
