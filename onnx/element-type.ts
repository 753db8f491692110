/**
 * Element types of ONNX tensors that this package writes, with their numbers in `TensorProto.DataType`.
 * Source: onnx/onnx.proto3, enum TensorProto.DataType.
 */
export const elementTypeNumbers = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  bfloat16: 16,
} as const;

export type ElementType = keyof typeof elementTypeNumbers;

/** Types that a model may compute with. */
export type Real = 'float32' | 'float16' | 'bfloat16';

/** Types with arithmetic. */
export type Numeric = Real | 'int64' | 'int32';

/** `torch.finfo(dtype).min`: added to a score of attention, it leaves a probability of exactly zero. */
export const lowestFinite: Readonly<Record<Real, number>> = {
  float32: -3.4028234663852886e38,
  float16: -65_504,
  bfloat16: -3.3895313892515355e38,
};
