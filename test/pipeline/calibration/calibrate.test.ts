import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../checkpoint/checkpoint.ts';
import { quantizeCheckpoint } from '../../../checkpoint/quantize/quantize-checkpoint.ts';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { imageProducts } from '../../../models/calibration/image-products.ts';
import { calibrate } from '../../../pipeline/calibration/calibrate.ts';
import { MAX_PICTURES, picturesOf, readPicture } from '../../../pipeline/calibration/pictures.ts';
import { checkpointFolder, clipCheckpointNames, imagePath, retrievalCheckpointNames } from '../../support/goldens.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

/** Calibration on the small random checkpoints, with the pictures of the goldens. */

function pictures(...names: readonly string[]): string {
  const folder = temporaryFolder({ 'notes.txt': 'no picture' });
  for (const name of names) {
    const path = imagePath(name as Parameters<typeof imagePath>[0]);
    cpSync(path, join(folder, path.slice(path.lastIndexOf('/') + 1)));
  }
  return folder;
}

describe.each(['narrow-vision', ...retrievalCheckpointNames, ...clipCheckpointNames] as const)('%s', (name) => {
  const folder = checkpointFolder(name);
  const { inputs } = imageProducts(openCheckpoint(folder), openWeights(folder));

  test('reads every matrix of the image tower once', () => {
    const matrices = inputs.flatMap((input) => input.matrices);
    expect(new Set(matrices).size).toBe(matrices.length);
    const tower = [...openWeights(folder).regions].filter(
      ([tensor, { shape }]) => /^vision_model\..*\.layers\.\d+\..*\.weight$/.test(tensor) && shape.length === 2,
    );
    expect(matrices.filter((matrix) => matrix.startsWith('vision_model.')).sort()).toEqual(
      tower.map(([tensor]) => tensor).sort(),
    );
  });

  test('finds a range for each input, which becomes two numbers of each matrix', async () => {
    const calibration = await calibrate(folder, pictures('chelsea', 'small'));
    expect(calibration.pictureCount).toBe(2);
    expect(calibration.inputs.map(({ matrices }) => matrices)).toEqual(inputs.map(({ matrices }) => matrices));
    for (const { smallest, largest } of calibration.inputs) expect(largest - smallest).toBeGreaterThan(0);
    const target = join(temporaryFolder(), 'int8');
    await quantizeCheckpoint(folder, target, { calibration });
    const { regions } = openWeights(target);
    for (const matrix of inputs.flatMap((input) => input.matrices)) {
      const module = matrix.slice(0, -'.weight'.length);
      expect(regions.get(`${module}.input_scale`)).toMatchObject({ dtype: 'F32', shape: [] });
      expect(regions.get(`${module}.input_zero_point`)).toMatchObject({ dtype: 'U8', shape: [] });
    }
  });
});

test('each picture is passed twice, and rows behind GELU have a range that is not symmetric', async () => {
  const folder = checkpointFolder('narrow-vision');
  const passes: number[] = [];
  const options = { onProgress: (done: number, all: number) => passes.push(done / all) };
  const { inputs } = await calibrate(folder, pictures('chelsea', 'rocket', 'small'), options);
  expect(passes).toEqual([1, 2, 3, 4, 5, 6].map((done) => done / 6));
  const activated = inputs.find(({ matrices }) => matrices.some((matrix) => matrix.endsWith('mlp.fc2.weight')));
  expect(activated?.smallest).toBeGreaterThan(-0.1701);
  expect(activated?.smallest).toBeLessThan(0);
});

describe('is refused', () => {
  const folder = checkpointFolder('narrow-vision');

  test('without a folder of pictures', async () => {
    await expect(calibrate(folder, '/nowhere/at/all')).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
      message: '/nowhere/at/all: expected a folder of pictures (ENOENT).',
    });
    const empty = temporaryFolder({ 'notes.txt': 'no picture' });
    await expect(calibrate(folder, empty)).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
      message: `${empty}: expected pictures to calibrate with, got none.`,
    });
  });

  test('with a picture that does not decode, by its name', async () => {
    const broken = pictures('small');
    writeFileSync(join(broken, 'broken.png'), 'no png');
    await expect(calibrate(folder, broken)).rejects.toMatchObject({
      code: 'IMAGE_UNSUPPORTED',
      message: expect.stringContaining(`${join(broken, 'broken.png')}: Expected a`),
    });
  });

  test('of a checkpoint that is int8 already', async () => {
    const int8 = join(temporaryFolder(), 'int8');
    await quantizeCheckpoint(folder, int8);
    await expect(calibrate(int8, pictures('small'))).rejects.toMatchObject({ code: 'CHECKPOINT_CONFIG_INVALID' });
  });

  test('when it is aborted', async () => {
    const controller = new AbortController();
    const onProgress = () => controller.abort(new Error('enough'));
    const calibrating = calibrate(folder, pictures('small'), { onProgress, signal: controller.signal });
    await expect(calibrating).rejects.toThrow('enough');
  });
});

test('of many pictures, some are taken that lie evenly among them', () => {
  const names = Array.from({ length: 150 }, (_, index) => `${String(index).padStart(3, '0')}.png`);
  const folder = temporaryFolder(Object.fromEntries(names.map((name) => [name, ''])));
  const chosen = picturesOf(folder);
  expect(chosen).toHaveLength(MAX_PICTURES);
  expect(chosen[0]).toBe(join(folder, '000.png'));
  expect(chosen[32]).toBe(join(folder, '075.png'));
});

describe('what is named like a picture and is none', () => {
  const path = (make: (path: string) => void) => {
    const made = join(temporaryFolder(), 'a.png');
    make(made);
    return made;
  };

  test.each([
    ['a folder', (made: string) => mkdirSync(made), 'a regular file, got a folder'],
    ['a named pipe', (made: string) => execFileSync('mkfifo', [made]), 'a regular file, got a named pipe'],
    ['a link to nothing', (made: string) => symlinkSync('nothing.png', made), 'a symlink to one that is not there'],
  ])('%s is refused with its path', async (_, make, message) => {
    const picture = path(make);
    await expect(readPicture(picture)).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
      message: expect.stringMatching(new RegExp(`^${picture}: .*${message}`)),
    });
  });
});
