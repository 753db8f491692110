import { expect, test } from 'vitest';
import { explainWriteErrors, writeFailure } from '../../../checkpoint/hub/failures.ts';

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: words of the system`), { code });
}

test.each([
  ['ENOSPC', 'expected free space on the disk, got ENOSPC. The bytes that have arrived are kept'],
  ['EDQUOT', 'expected free space on the disk, got EDQUOT.'],
  ['EROFS', 'expected a place that can be written, got EROFS. HF_HUB_CACHE or --folder names another place.'],
  ['EACCES', 'expected a place that can be written, got EACCES.'],
  ['EIO', 'expected to write it, got EIO.'],
])('%s', async (code, words) => {
  const failure = { code: 'CHECKPOINT_DOWNLOAD_FAILED', message: expect.stringContaining(`/cache/blob: ${words}`) };
  expect(writeFailure('/cache/blob', systemError(code))).toMatchObject(failure);
  await expect(explainWriteErrors('/cache/blob', () => Promise.reject(systemError(code)))).rejects.toMatchObject(
    failure,
  );
});
