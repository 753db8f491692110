import { open } from 'node:fs/promises';
import type { Dtype } from '../weights/safetensors.ts';

/** A tensor to write. Its size is known before its bytes are. */
export interface TensorToWrite {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly lengthBytes: number;
  /** Called once, in the order of the tensors. A large tensor comes in parts, of which each is written before the next. */
  readonly read: () => Uint8Array | Iterable<Uint8Array>;
}

/** The first tensor begins a line of the processor's cache. The others follow without gaps. */
const ALIGNMENT_BYTES = 64;

/**
 * Writes a new safetensors file, one tensor after the other.
 * Format: https://github.com/huggingface/safetensors#format
 * @param onTensor called after each tensor. An error of it ends the writing.
 * @throws errors of the file system; RangeError when a tensor has another number of bytes than its `lengthBytes`.
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorToWrite[],
  onTensor?: (tensor: TensorToWrite) => void,
): Promise<void> {
  const file = await open(path, 'wx');
  try {
    await file.appendFile(headerOf(tensors));
    for (const tensor of tensors) {
      let lengthBytes = 0;
      for (const bytes of partsOf(tensor)) {
        lengthBytes += bytes.byteLength;
        await file.appendFile(bytes);
      }
      if (lengthBytes !== tensor.lengthBytes)
        throw new RangeError(`${tensor.name}: expected ${tensor.lengthBytes} bytes, got ${lengthBytes}.`);
      onTensor?.(tensor);
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

function partsOf(tensor: TensorToWrite): Iterable<Uint8Array> {
  const bytes = tensor.read();
  return bytes instanceof Uint8Array ? [bytes] : bytes;
}

/** Eight bytes with the length of the JSON, then the JSON, filled up with spaces. */
function headerOf(tensors: readonly TensorToWrite[]): Buffer {
  const entries: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  let end = 0;
  for (const { name, dtype, shape, lengthBytes } of tensors) {
    entries[name] = { dtype, shape, data_offsets: [end, end + lengthBytes] };
    end += lengthBytes;
  }
  const text = Buffer.from(JSON.stringify(entries));
  const length = Math.ceil((text.length + 8) / ALIGNMENT_BYTES) * ALIGNMENT_BYTES - 8;
  const header = Buffer.alloc(8 + length, ' ');
  header.writeBigUInt64LE(BigInt(length));
  text.copy(header, 8);
  return header;
}
