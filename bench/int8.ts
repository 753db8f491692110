import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { quantizeCheckpoint } from '../checkpoint/quantize/quantize-checkpoint.ts';
import { calibrate } from '../pipeline/calibration/calibrate.ts';

/** Int8 copies of a checkpoint. */
export interface Int8Folders {
  readonly int8: string;
  /** Calibrated on the pictures. */
  readonly calibratedInt8: string;
}

/** Runs a function with int8 copies of a checkpoint, and removes the copies afterwards. */
export async function withInt8<T>(
  checkpoint: string,
  pictures: readonly string[],
  use: (folders: Int8Folders) => Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'blip-bench-int8-'));
  const [int8, calibratedInt8] = [join(folder, 'int8'), join(folder, 'calibrated-int8')];
  const picturesFolder = join(folder, 'pictures');
  try {
    mkdirSync(picturesFolder);
    for (const picture of pictures) copyFileSync(picture, join(picturesFolder, basename(picture)));
    await quantizeCheckpoint(checkpoint, int8);
    await quantizeCheckpoint(checkpoint, calibratedInt8, { calibration: await calibrate(checkpoint, picturesFolder) });
    return await use({ int8, calibratedInt8 });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
