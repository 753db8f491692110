/** A tensor with a name, as answers of the KServe v2 / Open Inference Protocol have it. The keys are in Triton's order. */
export interface NamedTensor {
  readonly name: string;
  readonly datatype: 'BYTES' | 'INT64' | 'FP32';
  readonly shape: readonly number[];
  /** Flat, in row-major order. */
  readonly data: readonly (string | number)[];
}

/** The lowest finite float32. It stands for -Infinity, which JSON does not have. */
const LOWEST_FLOAT32 = -3.4028234663852886e38;

export function bytesTensor(name: string, shape: readonly number[], data: readonly string[]): NamedTensor {
  return { name, datatype: 'BYTES', shape, data };
}

/** @throws RangeError for NaN, which JSON does not have and no answer should contain. */
export function float32Tensor(name: string, shape: readonly number[], data: readonly number[]): NamedTensor {
  if (data.some(Number.isNaN)) throw new RangeError(`Expected numbers in ${name}, got NaN.`);
  return { name, datatype: 'FP32', shape, data: data.map((value) => Math.max(value, LOWEST_FLOAT32)) };
}

export function int64Tensor(name: string, shape: readonly number[], data: readonly number[]): NamedTensor {
  return { name, datatype: 'INT64', shape, data };
}

/** Inferless' rule: a tensor of one value becomes that value, any other tensor a list. */
export function unwrap(tensor: NamedTensor): string | number | readonly (string | number)[] {
  const [only] = tensor.data;
  return tensor.data.length === 1 && only !== undefined ? only : tensor.data;
}

/** The dictionary that most platforms answer with: unwrapped tensors by their names. */
export function valuesByName(tensors: readonly NamedTensor[]): Readonly<Record<string, ReturnType<typeof unwrap>>> {
  return Object.fromEntries(tensors.map((tensor) => [tensor.name, unwrap(tensor)]));
}
