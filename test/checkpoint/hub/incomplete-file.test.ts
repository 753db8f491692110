import { existsSync, readdirSync, readFileSync, renameSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { claimIncompleteFile, type IncompleteFile, removeAbandoned } from '../../../checkpoint/hub/incomplete-file.ts';
import { quickLimits } from '../../support/hub-server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const limits = { ...quickLimits, abandonedAfterMs: 400 };
const identifiers = ['11111111-1111-4111-8111-111111111111', '22222222-2222-4222-8222-222222222222'] as const;

function claim(
  prefix: string,
  signal = new AbortController().signal,
  claimLimits = limits,
): Promise<IncompleteFile | undefined> {
  return claimIncompleteFile(prefix, async () => existsSync(prefix), { limits: claimLimits, signal });
}

async function claimed(prefix: string): Promise<IncompleteFile> {
  const file = await claim(prefix);
  if (file === undefined) throw new Error('Expected a half-written file, got none.');
  return file;
}

/** A half-written file of a process that is gone. */
function abandoned(prefix: string, identifier: string, text: string): string {
  const path = `${prefix}.${identifier}.incomplete`;
  writeFileSync(path, text);
  utimesSync(path, 1, 1);
  return path;
}

test('begins an empty one, and none when the whole file is there', async () => {
  const prefix = join(temporaryFolder(), 'blob');
  const file = await claimed(prefix);
  expect(statSync(file.path).size).toBe(0);
  await file.release();
  writeFileSync(prefix, 'whole');
  expect(await claim(prefix)).toBeUndefined();
});

test('takes over the largest that nobody owns, and leaves the others for removal', async () => {
  const prefix = join(temporaryFolder(), 'blob');
  const left = [abandoned(prefix, identifiers[0], 'some'), abandoned(prefix, identifiers[1], 'some more')];
  const file = await claimed(prefix);
  expect(readFileSync(file.path, 'utf8')).toBe('some more');
  expect(left.map(existsSync)).toEqual([true, false]);
  await removeAbandoned(prefix, limits);
  expect(existsSync(left[0] ?? '')).toBe(false);
  expect(existsSync(file.path)).toBe(true);
  await file.release();
});

test('waits while its owner lives, however long, and takes over what it releases', async () => {
  const prefix = join(temporaryFolder(), 'blob');
  const first = await claimed(prefix);
  writeFileSync(first.path, 'bytes');
  let isDone = false;
  const second = claimed(prefix).finally(() => {
    isDone = true;
  });
  await wait(3 * limits.abandonedAfterMs);
  expect(isDone).toBe(false);
  await first.release();
  const file = await second;
  expect(readFileSync(file.path, 'utf8')).toBe('bytes');
  expect(existsSync(first.path)).toBe(false);
  await file.release();
});

describe('of many at once one owns it', () => {
  test.each([
    ['begun', []],
    ['left by others', identifiers],
  ])('%s', async (_, left) => {
    const patient = { ...limits, abandonedAfterMs: 60_000 }; // However slow the machine is.
    for (let round = 0; round < 20; round += 1) {
      const prefix = join(temporaryFolder(), 'blob');
      for (const identifier of left) abandoned(prefix, identifier, 'bytes');
      let claims = 0;
      const one = async () => {
        const file = await claim(prefix, undefined, patient);
        if (file === undefined) return;
        claims += 1;
        await wait(2);
        renameSync(file.path, prefix);
        await file.release();
      };
      await Promise.all(Array.from({ length: 8 }, one));
      expect(claims).toBe(1);
    }
  });
});

test('is none where the file came to be between the looks', async () => {
  const prefix = join(temporaryFolder(), 'blob');
  const isWhole = async () => {
    const isThere = existsSync(prefix);
    writeFileSync(prefix, 'whole');
    return isThere;
  };
  const { signal } = new AbortController();
  expect(await claimIncompleteFile(prefix, isWhole, { limits, signal })).toBeUndefined();
  expect(readdirSync(dirname(prefix))).toEqual(['blob']);
});

test('ends waiting when the signal is given', async () => {
  const prefix = join(temporaryFolder(), 'blob');
  const first = await claimed(prefix);
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 50);
  await expect(claim(prefix, controller.signal)).rejects.toMatchObject({ name: 'AbortError' });
  await first.release();
});

test('leaves the files of huggingface_hub and of other blobs alone', async () => {
  const folder = temporaryFolder();
  const prefix = join(folder, 'blob');
  const others = ['blob.incomplete', 'blob.0123abcd.incomplete', `blob2.${identifiers[0]}.incomplete`];
  for (const name of others) {
    writeFileSync(join(folder, name), 'other');
    utimesSync(join(folder, name), 1, 1);
  }
  const file = await claimed(prefix);
  expect(statSync(file.path).size).toBe(0);
  await removeAbandoned(prefix, limits);
  expect(readdirSync(folder)).toEqual(expect.arrayContaining(others));
  await file.release();
});
