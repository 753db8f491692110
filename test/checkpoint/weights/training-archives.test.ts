import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { CheckpointErrorCode } from '../../../checkpoint/errors.ts';
import { findTensor, openWeights } from '../../../checkpoint/weights/weights.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { expectCheckpointError } from '../../support/thrown.ts';
import { torchArchivePath } from '../../support/torch-archive-file.ts';

/** Archives that training scripts save: test/fixtures/make_training_archives.py. */

const expected = JSON.parse(readFileSync(torchArchivePath('training/expected.json'), 'utf8')) as {
  readonly files: readonly string[];
  readonly tensors: Readonly<Record<string, readonly number[]>>;
};

function folderOf(file: string): string {
  return temporaryFolder({ 'pytorch_model.bin': readFileSync(torchArchivePath(`training/${file}.bin`)) });
}

describe('files of training scripts', () => {
  test('are thirteen', () => expect(expected.files.length).toBe(13));

  test.each(expected.files)('%s has the tensors of the model, by the names of transformers', (file) => {
    const weights = openWeights(folderOf(file));
    for (const [name, values] of Object.entries(expected.tensors)) {
      const { path, offsetBytes, lengthBytes } = findTensor(weights, [name], [2, 3]);
      const bytes = readFileSync(path).subarray(offsetBytes, offsetBytes + lengthBytes);
      expect([...new Float32Array(Uint8Array.from(bytes).buffer)]).toEqual(values);
    }
  });

  test.each<[string, CheckpointErrorCode, string]>([
    ['two-models', 'CHECKPOINT_WEIGHTS_INVALID', '"student" (a dict of 2), "teacher" (a dict of 2), "epoch" (1)'],
    ['optimizer-alone', 'CHECKPOINT_WEIGHTS_INVALID', '"state" (a dict of 1), "param_groups" (a list of 1)'],
    ['own-class', 'CHECKPOINT_PICKLE_REFUSED', '__main__.Options'],
    ['function', 'CHECKPOINT_PICKLE_REFUSED', 'torch.nn.functional.relu'],
  ])('%s is refused, with what it holds and what to do', (file, code, got) => {
    const folder = folderOf(file);
    expectCheckpointError(() => openWeights(folder), code, [join(folder, 'pytorch_model.bin'), got]);
    expectCheckpointError(() => openWeights(folder), code, ['ave model.state_dict() alone.']);
  });
});
