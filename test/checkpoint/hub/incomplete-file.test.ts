import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import fileSystem from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { dirname, join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import {
  beginIncompleteFile,
  findLeftovers,
  keepRecent,
  releaseIncompleteFile,
  removeIncompleteFiles,
} from '../../../checkpoint/hub/incomplete-file.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const ABANDONED_AFTER_MS = 60_000; // However slow the machine is.
const identifiers = ['11111111-1111-4111-8111-111111111111', '22222222-2222-4222-8222-222222222222'] as const;

function newPrefix(): string {
  return join(temporaryFolder(), 'blob');
}

async function begin(prefix: string, abandonedAfterMs = ABANDONED_AFTER_MS): Promise<string> {
  const leftovers = await findLeftovers(prefix, abandonedAfterMs, new AbortController().signal);
  return await beginIncompleteFile(prefix, leftovers);
}

/** A half-written file that some download left. */
function leave(prefix: string, identifier: string, text: string, ageMs = 0): string {
  const path = `${prefix}.${identifier}.incomplete`;
  writeFileSync(path, text);
  const time = new Date(Date.now() - ageMs);
  utimesSync(path, time, time);
  return path;
}

function leaveAbandoned(prefix: string, identifier: string, text: string): string {
  return leave(prefix, identifier, text, 2 * ABANDONED_AFTER_MS);
}

/** A half-written file of a download that goes on until the test ends, and waits for bytes. */
function leaveOwned(prefix: string, identifier: string, text: string): string {
  const path = leave(prefix, identifier, text);
  onTestFinished(keepRecent(path, 80));
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
    onTestFinished(keepRecent(path, 80));
    expect(textOf(await begin(prefix))).toBe('bytes');
    expect(existsSync(path)).toBe(true);
  });

  test('is copied from one whose download goes on', async () => {
    const prefix = newPrefix();
    const left = leaveOwned(prefix, identifiers[0], 'bytes');
    const path = await begin(prefix);
    expect(textOf(path)).toBe('bytes');
    writeFileSync(path, 'other bytes');
    expect(textOf(left)).toBe('bytes');
  });

  test('is moved from one that belongs to nobody, although a download has more bytes', async () => {
    const prefix = newPrefix();
    leaveOwned(prefix, identifiers[0], 'many bytes');
    leave(prefix, identifiers[1], 'bytes', 2 * ABANDONED_AFTER_MS);
    expect(textOf(await begin(prefix))).toBe('bytes');
    expect(readdirSync(dirname(prefix))).toHaveLength(2);
  });

  test('is moved from one with a time in the future, as after a clock was set back', async () => {
    const prefix = newPrefix();
    const left = leave(prefix, identifiers[0], 'bytes', -2 * ABANDONED_AFTER_MS);
    expect(textOf(await begin(prefix))).toBe('bytes');
    expect(existsSync(left)).toBe(false);
  });

  test('does not wait for bytes of one that has none', async () => {
    const prefix = newPrefix();
    leave(prefix, identifiers[0], '');
    expect(textOf(await begin(prefix))).toBe('');
  });

  test('is one file after four downloads that were killed in a row', async () => {
    const prefix = newPrefix();
    for (const bytes of ['a', 'b', 'c', 'd']) appendFileSync(await begin(prefix, 300), bytes);
    const names = readdirSync(dirname(prefix));
    expect(names.map((name) => textOf(join(dirname(prefix), name)))).toEqual(['abcd']);
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

describe('a file that is watched', () => {
  test('is moved when its download releases it', async () => {
    const prefix = newPrefix();
    const left = leave(prefix, identifiers[0], 'bytes');
    setTimeout(() => releaseIncompleteFile(left), 50);
    expect(textOf(await begin(prefix))).toBe('bytes');
    expect(existsSync(left)).toBe(false);
  });

  test('is forgotten when its download finishes', async () => {
    const prefix = newPrefix();
    const left = leave(prefix, identifiers[0], 'bytes');
    setTimeout(() => rmSync(left), 50);
    expect(textOf(await begin(prefix))).toBe('');
  });

  test('keeps nobody who wants to end', async () => {
    const prefix = newPrefix();
    leave(prefix, identifiers[0], 'bytes');
    const found = findLeftovers(prefix, ABANDONED_AFTER_MS, AbortSignal.timeout(50));
    await expect(found).rejects.toMatchObject({ name: 'AbortError' });
  });
});

test('a disk without space for a copy gets no part of one, and the next leftover is taken', async () => {
  // No disk is full on every machine that runs this.
  const copyFile = vi.spyOn(fileSystem, 'copyFile').mockImplementation(async (_source, target) => {
    writeFileSync(String(target), 'par');
    throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
  });
  syncBuiltinESMExports();
  onTestFinished(() => {
    copyFile.mockRestore();
    syncBuiltinESMExports();
  });
  const prefix = newPrefix();
  const owned = { path: leave(prefix, identifiers[0], 'some bytes'), sizeBytes: 10, isOwned: true };
  const abandoned = { path: leave(prefix, identifiers[1], 'bytes'), sizeBytes: 5, isOwned: false };
  expect(textOf(await beginIncompleteFile(prefix, [owned]))).toBe('');
  expect(readdirSync(dirname(prefix))).toHaveLength(3);
  expect(textOf(await beginIncompleteFile(prefix, [owned, abandoned]))).toBe('bytes');
  expect(readdirSync(dirname(prefix))).toHaveLength(3);
  expect(copyFile).toHaveBeenCalledTimes(2);
});

test.each([
  ['nothing was left', leave, 0],
  ['some were left that nobody owns', leaveAbandoned, 2],
  ['some were left that others write', leaveOwned, 2],
])('many downloads at once have a file each: %s', async (_, leaveOne, count) => {
  const round = async () => {
    const prefix = newPrefix();
    for (const identifier of identifiers.slice(0, count)) leaveOne(prefix, identifier, 'bytes');
    const paths = await Promise.all(Array.from({ length: 8 }, () => begin(prefix)));
    expect(new Set(paths).size).toBe(8);
    for (const path of paths) expect(['', 'bytes']).toContain(textOf(path));
  };
  await Promise.all(Array.from({ length: 20 }, round));
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
  const path = `${prefix}.${identifiers[0]}.incomplete`;
  mkdirSync(path);
  await expect(beginIncompleteFile(prefix, [{ path, sizeBytes: 1, isOwned: true }])).rejects.toThrow('copyfile');
  await expect(begin(join(prefix, 'nowhere', 'blob'))).rejects.toMatchObject({ code: 'ENOENT' });
});
