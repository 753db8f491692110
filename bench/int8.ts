import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { quantizeCheckpoint } from '../checkpoint/quantize/quantize-checkpoint.ts';

/** Does something with the int8 checkpoint of a checkpoint, which is gone after it. */
export async function withInt8<T>(checkpoint: string, use: (int8: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'blip-bench-int8-'));
  try {
    await quantizeCheckpoint(checkpoint, join(folder, 'int8'));
    return await use(join(folder, 'int8'));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
