import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { quantizeCheckpoint } from '../checkpoint/quantize/quantize-checkpoint.ts';

/** Runs a function with an int8 copy of a checkpoint, and removes the copy afterwards. */
export async function withInt8<T>(checkpoint: string, use: (int8: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'blip-bench-int8-'));
  try {
    await quantizeCheckpoint(checkpoint, join(folder, 'int8'));
    return await use(join(folder, 'int8'));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
