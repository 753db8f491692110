import type { Hash } from 'node:crypto';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CheckpointError } from '../errors.ts';
import { isMissing } from '../files/json-file.ts';
import { type AttemptOptions, withRetries } from './attempts.ts';
import { describeChecksum, digestFile, startDigest } from './checksum.ts';
import type { HubAnswer, HubConnection } from './connection.ts';
import { PassingFailure, writing } from './failures.ts';
import { claimIncompleteFile, removeAbandoned } from './incomplete-file.ts';
import type { RemoteFile } from './listing.ts';

export interface FileJob {
  readonly file: RemoteFile;
  readonly url: string;
  /** Where the whole file comes to lie. */
  readonly path: string;
  /** What the names of its half-written files begin with, in the same folder. */
  readonly incompletePrefix: string;
  /** Whether the whole file is there. */
  readonly isWhole: () => Promise<boolean>;
  /** Called with how much of the file is there by now. */
  readonly onBytes: (receivedBytes: number) => void;
}

/** A half-written file that is being filled. */
interface Filling {
  readonly handle: FileHandle;
  readonly path: string;
  receivedBytes: number;
  digest: Hash;
}

/** An attempt that brought less than this counts as one that brought nothing. */
const WORTHWHILE_BYTES = 1 << 20;

/**
 * Fetches one file: goes on where an earlier attempt ended (HTTP Range), checks its checksum, and renames it into
 * place only then. When another process fetches the same file, this waits for it.
 * @returns whether this call put it there.
 * @throws CheckpointError `CHECKPOINT_DOWNLOAD_FAILED` (network, checksum, disk), `CHECKPOINT_ACCESS_DENIED`.
 */
export async function fetchFile(job: FileJob, connection: HubConnection, options: AttemptOptions): Promise<boolean> {
  const { incompletePrefix, isWhole, path } = job;
  const { inquiry, limits, signal, onNotice } = options;
  const incomplete = await writing(path, async () => {
    await mkdir(dirname(path), { recursive: true });
    const onWait = () => onNotice(`${inquiry.place}: another process fetches it, or did a moment ago; waiting for it.`);
    return await claimIncompleteFile(incompletePrefix, isWhole, { limits, signal, onWait });
  });
  if (incomplete === undefined) return false;
  let isMoved = false;
  try {
    await fillAndCheck(job, incomplete.path, connection, options);
    isMoved = await writing(path, () => move(incomplete.path, path));
  } finally {
    await incomplete.release();
  }
  if (!isMoved) return await fetchFile(job, connection, options);
  await removeAbandoned(incompletePrefix, limits).catch(() => undefined); // They do no harm.
  return true;
}

/**
 * @returns whether the file was still there. A process that sleeps for long has it taken over, and then goes on as whoever
 * comes later does.
 */
async function move(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (cause) {
    if (isMissing(cause)) return false;
    throw cause;
  }
}

async function fillAndCheck(
  job: FileJob,
  path: string,
  connection: HubConnection,
  options: AttemptOptions,
): Promise<void> {
  const handle = await writing(path, () => open(path, 'r+'));
  try {
    const filling = await resume(job, handle, path);
    const isResumed = filling.receivedBytes > 0;
    await fill(job, filling, connection, options);
    if (isResumed && !matches(job, filling)) {
      // What an earlier attempt left may be what is wrong, after a power cut for example.
      await restart(job, filling);
      await fill(job, filling, connection, options);
    }
    await requireMatch(job, filling);
    await writing(path, () => handle.sync());
  } finally {
    await handle.close();
  }
}

async function resume(job: FileJob, handle: FileHandle, path: string): Promise<Filling> {
  const { size } = await writing(path, () => handle.stat());
  const filling = { handle, path, receivedBytes: size, digest: startDigest(job.file) };
  if (size > job.file.sizeBytes) await restart(job, filling);
  else await writing(path, () => digestFile(path, filling.digest));
  job.onBytes(filling.receivedBytes);
  return filling;
}

async function restart({ file }: FileJob, filling: Filling): Promise<void> {
  await writing(filling.path, () => filling.handle.truncate(0));
  filling.receivedBytes = 0;
  filling.digest = startDigest(file);
}

/** Fetches what is not there yet, in as many attempts as it takes. */
async function fill(job: FileJob, filling: Filling, connection: HubConnection, options: AttemptOptions): Promise<void> {
  const { sizeBytes } = job.file;
  await withRetries(async (progressed) => {
    if (filling.receivedBytes === sizeBytes) return;
    const headers: Record<string, string> =
      filling.receivedBytes === 0 ? {} : { range: `bytes=${filling.receivedBytes}-` };
    const answer = await connection.get(job.url, headers, options.inquiry);
    // Asked for a part, a server may send the whole.
    const startBytes = answer.status === 206 ? filling.receivedBytes : 0;
    requireRest(answer, startBytes, job, options);
    if (startBytes < filling.receivedBytes) await restart(job, filling);
    const beforeBytes = filling.receivedBytes;
    for await (const chunk of answer.body) {
      await append(filling, chunk, job);
      if (filling.receivedBytes - beforeBytes >= WORTHWHILE_BYTES) progressed();
    }
    if (filling.receivedBytes < sizeBytes) throw new PassingFailure('a body that ended too early');
  }, options);
}

/** At a place of its own: should two processes ever write one file, they write the same bytes to the same places. */
async function append(filling: Filling, chunk: Uint8Array, { file, onBytes }: FileJob): Promise<void> {
  const { handle, path, receivedBytes } = filling;
  if (receivedBytes + chunk.length > file.sizeBytes) throw tooLong(path, file);
  await writing(path, () => writeAll(handle, chunk, receivedBytes));
  filling.digest.update(chunk);
  filling.receivedBytes += chunk.length;
  onBytes(filling.receivedBytes);
}

async function writeAll(handle: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  for (let written = 0; written < chunk.length; ) {
    written += (await handle.write(chunk, written, chunk.length - written, position + written)).bytesWritten;
  }
}

/** A login page of a network, say, has another size; a part must be the part that was asked for. */
function requireRest(answer: HubAnswer, startBytes: number, { file }: FileJob, options: AttemptOptions): void {
  const restBytes = file.sizeBytes - startBytes;
  const length = answer.header('content-length') ?? String(restBytes);
  const range = answer.header('content-range') ?? '';
  if (Number(length) === restBytes && (answer.status !== 206 || range.startsWith(`bytes ${startBytes}-`))) return;
  throw new CheckpointError(
    'CHECKPOINT_DOWNLOAD_FAILED',
    `${options.inquiry.place}: expected ${restBytes} bytes from byte ${startBytes} on, got ${length} bytes ${range}. ` +
      'Something between here and the Hub answers in its place.',
  );
}

function tooLong(path: string, { name, sizeBytes }: RemoteFile): CheckpointError {
  return new CheckpointError(
    'CHECKPOINT_DOWNLOAD_FAILED',
    `${path}: expected ${sizeBytes} bytes of ${name}, got more.`,
  );
}

function matches({ file }: FileJob, { digest }: Filling): boolean {
  return digest.copy().digest('hex') === file.checksum.hex;
}

/** Bytes that are not the file's are worth nothing to the next attempt: they are removed. */
async function requireMatch({ file, path }: FileJob, filling: Filling): Promise<void> {
  const digest = filling.digest.digest('hex');
  if (digest === file.checksum.hex) return;
  await rm(filling.path, { force: true });
  throw new CheckpointError(
    'CHECKPOINT_DOWNLOAD_FAILED',
    `${path}: expected ${file.name} with ${describeChecksum(file.checksum)}, got ${digest}. ` +
      'It was thrown away; should this come again, the server or something before it alters files.',
  );
}
