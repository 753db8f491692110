import { existsSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  beginIncompleteFile,
  releaseIncompleteFile,
  removeIncompleteFiles,
} from '../../../checkpoint/hub/incomplete-file.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const ABANDONED_AFTER_MS = 60_000; // However slow the machine is.
const identifiers = ['11111111-1111-4111-8111-111111111111', '22222222-2222-4222-8222-222222222222'] as const;

function newPrefix(): string {
  return join(temporaryFolder(), 'blob');
}

function begin(prefix: string): Promise<string> {
  return beginIncompleteFile(prefix, ABANDONED_AFTER_MS);
}

/** A half-written file that some download left. */
function leave(prefix: string, identifier: string, text: string, ageMs = 0): string {
  const path = `${prefix}.${identifier}.incomplete`;
  writeFileSync(path, text);
  const time = new Date(Date.now() - ageMs);
  utimesSync(path, time, time);
  return path;
}

const textOf = (path: string) => readFileSync(path, 'utf8');

describe('a half-written file', () => {
  test('begins empty where nothing was left', async () => {
    const prefix = newPrefix();
    const path = await begin(prefix);
    expect(textOf(path)).toBe('');
    expect(readdirSync(dirname(prefix))).toHaveLength(1);
  });

  test('begins with the largest that was left', async () => {
    const prefix = newPrefix();
    leave(prefix, identifiers[0], 'some', 2 * ABANDONED_AFTER_MS);
    leave(prefix, identifiers[1], 'some more', 2 * ABANDONED_AFTER_MS);
    expect(textOf(await begin(prefix))).toBe('some more');
  });

  test('is moved from one that belongs to nobody, so that it takes no space twice', async () => {
    const prefix = newPrefix();
    const left = leave(prefix, identifiers[0], 'bytes', 2 * ABANDONED_AFTER_MS);
    const path = await begin(prefix);
    expect(textOf(path)).toBe('bytes');
    expect(existsSync(left)).toBe(false);
    // Now it has an owner: the next download copies it.
    expect(textOf(await begin(prefix))).toBe('bytes');
    expect(existsSync(path)).toBe(true);
  });

  test('is copied from one that its download may still write', async () => {
    const prefix = newPrefix();
    const left = leave(prefix, identifiers[0], 'bytes');
    const path = await begin(prefix);
    writeFileSync(path, 'other bytes');
    expect(textOf(left)).toBe('bytes');
  });

  test('that was released is moved at once', async () => {
    const prefix = newPrefix();
    const first = await begin(prefix);
    writeFileSync(first, 'bytes');
    await releaseIncompleteFile(first);
    expect(textOf(await begin(prefix))).toBe('bytes');
    expect(existsSync(first)).toBe(false);
  });

  test('that is in place already can be released', async () => {
    await expect(releaseIncompleteFile(join(temporaryFolder(), 'nowhere'))).resolves.toBeUndefined();
  });
});

test.each([
  ['nothing was left', 0, 0],
  ['some were left that nobody owns', 2 * ABANDONED_AFTER_MS, 2],
  ['some were left that others may write', 0, 2],
])('many downloads at once have a file each: %s', async (_, ageMs, count) => {
  for (let round = 0; round < 20; round += 1) {
    const prefix = newPrefix();
    for (const identifier of identifiers.slice(0, count)) leave(prefix, identifier, 'bytes', ageMs);
    const paths = await Promise.all(Array.from({ length: 8 }, () => begin(prefix)));
    expect(new Set(paths).size).toBe(8);
    for (const path of paths) expect(['', 'bytes']).toContain(textOf(path));
  }
});

test('all are removed, and the files of huggingface_hub and of other blobs left alone', async () => {
  const prefix = newPrefix();
  const folder = dirname(prefix);
  const others = ['blob.incomplete', 'blob.0123abcd.incomplete', `blob2.${identifiers[0]}.incomplete`, 'blob'];
  for (const name of others) writeFileSync(join(folder, name), 'other');
  expect(textOf(await begin(prefix))).toBe('');
  leave(prefix, identifiers[0], 'bytes');
  await removeIncompleteFiles(prefix);
  expect(readdirSync(folder).sort()).toEqual([...others].sort());
});

test('errors of the file system are not hidden', async () => {
  const prefix = newPrefix();
  mkdirSync(`${prefix}.${identifiers[0]}.incomplete`);
  writeFileSync(join(`${prefix}.${identifiers[0]}.incomplete`, 'file'), '');
  await expect(begin(prefix)).rejects.toThrow();
  await expect(begin(join(prefix, 'nowhere', 'blob'))).rejects.toMatchObject({ code: 'ENOENT' });
});
