import { CheckpointError } from '../errors.ts';
import { bandsOf } from '../new-checkpoint/bands.ts';
import { floatBytes, readFloats } from '../new-checkpoint/float-tensor.ts';
import { copiedTensor } from '../new-checkpoint/new-folder.ts';
import type { TensorToWrite } from '../new-checkpoint/write-safetensors.ts';
import type { Dtype, TensorRegion } from '../weights/safetensors.ts';

/** Precisions of 16 bits that a checkpoint can be copied in. */
export const copyPrecisions = ['float16', 'bfloat16'] as const;
export type CopyPrecision = (typeof copyPrecisions)[number];

const dtypes: Readonly<Record<CopyPrecision, Dtype>> = { float16: 'F16', bfloat16: 'BF16' };
const bytesOfFloat: Partial<Record<Dtype, number>> = { F32: 4, F16: 2, BF16: 2 };

/**
 * A tensor whose floats get this precision. One of other numbers stays as it is. Reading it throws CheckpointError
 * `CHECKPOINT_WEIGHTS_INVALID` for a weight that is too large for float16.
 */
export function tensorIn(precision: CopyPrecision, name: string, region: TensorRegion): TensorToWrite {
  const dtype = dtypes[precision];
  const bytes = bytesOfFloat[region.dtype];
  if (bytes === undefined || region.dtype === dtype) return copiedTensor(name, region);
  const { shape, lengthBytes } = region;
  return { name, dtype, shape, lengthBytes: (lengthBytes / bytes) * 2, read: () => converted(region, dtype) };
}

function* converted(region: TensorRegion, dtype: Dtype): Generator<Uint8Array> {
  for (const band of bandsOf(region)) {
    const values = readFloats(band);
    if (dtype === 'F16') requireInFloat16(band, values);
    yield floatBytes(values, dtype);
  }
}

/** Magnitudes from here on become infinity in float16. */
const TOO_LARGE = 65_520;

function requireInFloat16({ path, name }: TensorRegion, values: Float32Array): void {
  const tooLarge = values.find((value) => Number.isFinite(value) && Math.abs(value) >= TOO_LARGE);
  if (tooLarge === undefined) return;
  const expected = `${path}: tensor ${name}: expected weights of at most 65504, as float16 has`;
  throw new CheckpointError('CHECKPOINT_WEIGHTS_INVALID', `${expected}, got ${tooLarge}. A copy in bfloat16 holds it.`);
}
