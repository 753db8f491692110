import { randomUUID } from 'node:crypto';
import { open, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { isMissing } from '../files/json-file.ts';
import type { HubLimits } from './attempts.ts';

/**
 * Half-written files. Each belongs to one process, which alone knows its name and may rename it into place: no
 * interleaving of processes can make a mixture count as whole. Whoever owns one keeps its modification time young; an
 * old one belongs to nobody, and the next process takes it over, by renaming it, with the bytes that it has.
 *
 * Python's huggingface_hub gives each process a name of its own as well (`<etag>.<8 hex digits>.incomplete`), and
 * does not resume. The names here are longer, so that neither takes the other's.
 */
export interface IncompleteFile {
  readonly path: string;
  /** Leaves it to whoever comes next. After it was renamed into place, this does nothing. */
  release(): Promise<void>;
}

/** No one waits for a file whose owner says so by this. */
const RELEASED = new Date(0);
const identifier = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const SUFFIX = '.incomplete';

interface ClaimOptions {
  readonly limits: HubLimits;
  readonly signal: AbortSignal;
  /** Called once, when there is someone to wait for. */
  readonly onWait?: () => void;
}

interface Candidate {
  readonly path: string;
  readonly sizeBytes: number;
  readonly isOwned: boolean;
}

/**
 * Takes over the largest half-written file of `prefix`, or begins one. While another process writes one, this waits.
 * Of those that claim one at the same moment, each that sees another steps back for a while, so that never two go on.
 * @returns `undefined` when `isWhole` says that the file itself has come to be meanwhile.
 * @throws what the file system throws; the signal's reason.
 */
export async function claimIncompleteFile(
  prefix: string,
  isWhole: () => Promise<boolean>,
  { limits, signal, onWait = () => undefined }: ClaimOptions,
): Promise<IncompleteFile | undefined> {
  const path = `${prefix}.${randomUUID()}${SUFFIX}`;
  let hasWaited = false;
  while (!(await isWhole())) {
    signal.throwIfAborted();
    const candidates = await findCandidates(prefix, limits);
    const abandoned = candidates.find(({ isOwned }) => !isOwned);
    if (candidates.some(({ isOwned }) => isOwned)) {
      if (!hasWaited) onWait();
      hasWaited = true;
      await wait(limits.pollMs, undefined, { signal });
    } else if (abandoned === undefined ? await begin(path) : await takeOver(abandoned.path, path)) {
      const hasRival = (await findCandidates(prefix, limits)).some((other) => other.isOwned && other.path !== path);
      // Asked last: an owner who is no rival any more has put the file there before.
      if (!hasRival && !(await isWhole())) return keepYoung(path, limits);
      if (abandoned === undefined) await rm(path, { force: true });
      else await unlessMissing(touch(path, RELEASED));
      if (hasRival) await wait(limits.pollMs * (0.5 + Math.random()), undefined, { signal });
    }
  }
  return undefined;
}

/** Removes what other processes left of a file that is whole now. */
export async function removeAbandoned(prefix: string, limits: HubLimits): Promise<void> {
  const candidates = await findCandidates(prefix, limits);
  for (const { path, isOwned } of candidates) if (!isOwned) await rm(path, { force: true });
}

/** The largest first. */
async function findCandidates(prefix: string, { abandonedAfterMs }: HubLimits): Promise<readonly Candidate[]> {
  const start = `${basename(prefix)}.`;
  const names = (await readdir(dirname(prefix))).filter(
    (name) =>
      name.startsWith(start) && name.endsWith(SUFFIX) && identifier.test(name.slice(start.length, -SUFFIX.length)),
  );
  const found = await Promise.all(
    names.map(async (name) => {
      const path = join(dirname(prefix), name);
      const status = await unlessMissing(stat(path));
      if (status === undefined) return [];
      return [{ path, sizeBytes: status.size, isOwned: Date.now() - status.mtimeMs < abandonedAfterMs }];
    }),
  );
  return found.flat().sort((one, other) => other.sizeBytes - one.sizeBytes);
}

async function begin(path: string): Promise<true> {
  await (await open(path, 'wx')).close();
  return true;
}

/** Young before it has its new name: else a third process could take it from this one. */
async function takeOver(abandoned: string, path: string): Promise<boolean> {
  await unlessMissing(touch(abandoned, new Date()));
  return (await unlessMissing(rename(abandoned, path).then(() => true))) ?? false;
}

function keepYoung(path: string, { abandonedAfterMs }: HubLimits): IncompleteFile {
  let touched: Promise<void> = Promise.resolve();
  const timer = setInterval(() => {
    touched = touch(path, new Date()).catch(() => undefined);
  }, abandonedAfterMs / 4).unref();
  return {
    path,
    async release() {
      clearInterval(timer);
      await touched;
      await touch(path, RELEASED).catch(() => undefined);
    },
  };
}

function touch(path: string, time: Date): Promise<void> {
  return utimes(path, time, time);
}

async function unlessMissing<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise;
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    throw cause;
  }
}
