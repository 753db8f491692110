import { join } from 'node:path';
import { temporaryFolder } from './temporary-folder.ts';

export interface SafetensorsFile {
  /** The header: its text as it is, or a value that becomes JSON. */
  readonly header: string | object;
  readonly dataBytes?: number;
  /** The number in the first eight bytes, where it is not the length of the header. */
  readonly declaredBytes?: bigint;
}

/** The bytes of a safetensors file: 8 bytes of length, a JSON header, and as many zeros as asked for. */
export function safetensorsBytes({ header, dataBytes = 0, declaredBytes }: SafetensorsFile): Buffer {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(declaredBytes ?? BigInt(text.length));
  return Buffer.concat([length, text, Buffer.alloc(dataBytes)]);
}

/** Writes model.safetensors into a folder of its own. */
export function writeSafetensors(file: SafetensorsFile | Uint8Array): string {
  const bytes = file instanceof Uint8Array ? file : safetensorsBytes(file);
  return join(temporaryFolder({ 'model.safetensors': bytes }), 'model.safetensors');
}
