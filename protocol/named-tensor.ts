import { LOWEST_FLOAT32 } from '../numbers/float32-limits.ts';

/** A tensor with a name: what the KServe v2 / Open Inference Protocol answers with. Keys in Triton's order. */
export interface NamedTensor {
  readonly name: string;
  readonly datatype: 'BYTES' | 'INT64' | 'FP32';
  readonly shape: readonly number[];
  /** Flat, in row-major order. */
  readonly data: readonly (string | number)[];
}

export function bytesTensor(name: string, shape: readonly number[], data: readonly string[]): NamedTensor {
  return { name, datatype: 'BYTES', shape, data };
}

/**
 * JSON has no -Infinity, so it becomes the lowest finite float32.
 * @throws RangeError on NaN, which JSON cannot say and no answer should hold.
 */
export function float32Tensor(name: string, shape: readonly number[], data: readonly number[]): NamedTensor {
  if (data.some(Number.isNaN)) throw new RangeError(`Expected numbers in ${name}, got NaN.`);
  return { name, datatype: 'FP32', shape, data: data.map((value) => Math.max(value, LOWEST_FLOAT32)) };
}

export function int64Tensor(name: string, shape: readonly number[], data: readonly number[]): NamedTensor {
  return { name, datatype: 'INT64', shape, data };
}

/** Inferless' unwrapping rule: a tensor of one value is that value, a larger one is a list. */
export function unwrap(tensor: NamedTensor): string | number | readonly (string | number)[] {
  const [only] = tensor.data;
  return tensor.data.length === 1 && only !== undefined ? only : tensor.data;
}

/** Tensors by their names, unwrapped: the dictionary that most platforms answer with. */
export function valuesByName(tensors: readonly NamedTensor[]): Readonly<Record<string, ReturnType<typeof unwrap>>> {
  return Object.fromEntries(tensors.map((tensor) => [tensor.name, unwrap(tensor)]));
}
