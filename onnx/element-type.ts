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
