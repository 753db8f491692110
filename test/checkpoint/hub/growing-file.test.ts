import { readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import { GrowingFile } from '../../../checkpoint/hub/growing-file.ts';
import type { RemoteFile } from '../../../checkpoint/hub/listing.ts';
import { gitBlobSha1, sha256 } from '../../support/hub-server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const ABANDONED_AFTER_MS = 100;
const MEBIBYTE = 1 << 20;
const whole = Buffer.from('the whole file');
const small = {
  name: 'config.json',
  sizeBytes: whole.length,
  checksum: { algorithm: 'git-sha1', hex: gitBlobSha1(whole) },
} as const;
const large = { ...small, checksum: { algorithm: 'sha256', hex: sha256(whole) } } as const;

async function open(content: string, file: RemoteFile = large) {
  const path = join(temporaryFolder({ 'file.incomplete': content }), 'file.incomplete');
  const growing = await GrowingFile.open(path, file, ABANDONED_AFTER_MS);
  onTestFinished(() => growing.close());
  return { growing, path, text: () => readFileSync(path, 'utf8') };
}

describe('a file that grows', () => {
  test.each([small, large])('has the digest of what it had and of what is added: $checksum.algorithm', async (file) => {
    const { growing, text } = await open('the ', file);
    expect(growing.receivedBytes).toBe(4);
    await growing.append(whole.subarray(4, 9));
    expect(growing.isMatch).toBe(false);
    await growing.append(whole.subarray(9));
    expect([growing.receivedBytes, growing.isMatch, growing.digest]).toEqual([14, true, file.checksum.hex]);
    expect(text()).toBe('the whole file');
  });

  test('begins again, without the bytes and the digest of before', async () => {
    const { growing, text } = await open('wrong bytes');
    await growing.restart();
    expect([growing.receivedBytes, text()]).toEqual([0, '']);
    await growing.append(whole);
    await growing.sync();
    expect([growing.isMatch, text()]).toEqual([true, 'the whole file']);
  });

  test('loses its bytes where it had more than the file', async () => {
    const { growing, text } = await open('much more than the whole file');
    expect([growing.receivedBytes, text()]).toEqual([0, '']);
  });

  test('takes no more bytes than the file has', async () => {
    const { growing, text } = await open('the whole fil');
    await expect(growing.append(Buffer.from('es'))).rejects.toMatchObject({
      code: 'CHECKPOINT_DOWNLOAD_FAILED',
      message: expect.stringMatching(/expected 14 bytes of config\.json, got more\.$/),
    });
    expect(text()).toBe('the whole fil');
  });

  test('that is not there is named', async () => {
    const path = join(temporaryFolder(), 'nowhere');
    await expect(GrowingFile.open(path, small, ABANDONED_AFTER_MS)).rejects.toMatchObject({
      code: 'CHECKPOINT_DOWNLOAD_FAILED',
      message: expect.stringContaining(path),
    });
  });
});

test('a file is recent while it is open, although no bytes arrive', async () => {
  const { growing, path } = await open('the ');
  const setOld = () => utimesSync(path, 1, 1);
  const ageMs = () => Date.now() - statSync(path).mtimeMs;
  setOld();
  await expect.poll(ageMs, { timeout: 30_000 }).toBeLessThan(30_000);
  await growing.close();
  setOld();
  await wait(2 * ABANDONED_AFTER_MS);
  expect(ageMs()).toBeGreaterThan(1e9);
});

describe('a file whose name is gone', () => {
  const gone = { code: 'CHECKPOINT_DOWNLOAD_FAILED', cause: expect.objectContaining({ code: 'ENOENT' }) };

  test('takes no more than a mebibyte', async () => {
    const { growing, path } = await open('', { ...large, sizeBytes: 8 * MEBIBYTE });
    await growing.append(Buffer.alloc(MEBIBYTE / 4));
    rmSync(path);
    const fillUp = async () => {
      while (growing.receivedBytes < 8 * MEBIBYTE) await growing.append(Buffer.alloc(MEBIBYTE / 4));
    };
    await expect(fillUp()).rejects.toMatchObject(gone);
    expect(growing.receivedBytes).toBe(MEBIBYTE);
  });

  test('keeps the bytes for the download that took it', async () => {
    const { growing, path } = await open('the ');
    renameSync(path, `${path}.taken`);
    await expect(growing.restart()).rejects.toMatchObject(gone);
    expect(readFileSync(`${path}.taken`, 'utf8')).toBe('the ');
  });
});

test('writes at its position, not at the end that another writer may have made', async () => {
  const path = join(temporaryFolder({ file: 'the ' }), 'file');
  const growing = await GrowingFile.open(path, small, ABANDONED_AFTER_MS);
  writeFileSync(path, 'the who');
  await growing.append(whole.subarray(4));
  await growing.close();
  expect(readFileSync(path, 'utf8')).toBe('the whole file');
});
