import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CheckpointError } from '../errors.ts';
import { isMissing } from '../files/file-errors.ts';
import { type AttemptOptions, withRetries } from './attempts.ts';
import { describeChecksum } from './checksum.ts';
import type { HubAnswer, HubConnection } from './connection.ts';
import { explainWriteErrors, PassingFailure } from './failures.ts';
import { GrowingFile } from './growing-file.ts';
import { beginIncompleteFile, findLeftovers, releaseIncompleteFile, removeIncompleteFiles } from './incomplete-file.ts';
import type { RemoteFile } from './listing.ts';

export interface FileJob {
  readonly file: RemoteFile;
  readonly url: string;
  /** The path of the whole file. */
  readonly path: string;
  /** Begins the names of its half-written files, in the same folder. */
  readonly incompletePrefix: string;
  /** Whether the whole file is there. */
  readonly isWhole: () => Promise<boolean>;
  /** Called with the number of bytes that are there by now. */
  readonly onBytes: (receivedBytes: number) => void;
}

/** An attempt that brought less than this counts as one that brought nothing. */
const WORTHWHILE_BYTES = 1 << 20;

/**
 * Fetches one file: resumes where an earlier attempt ended (HTTP Range), checks its checksum, and only then renames it
 * into place. Downloads of the same file do not wait for each other; the last one's file stays.
 * @returns whether this call put the file there; false where another download did.
 * @throws CheckpointError `CHECKPOINT_DOWNLOAD_FAILED` (network, checksum, disk), `CHECKPOINT_ACCESS_DENIED`.
 */
export async function fetchFile(job: FileJob, connection: HubConnection, options: AttemptOptions): Promise<boolean> {
  const incompletePath = await explainWriteErrors(job.path, () => begin(job, options));
  if (incompletePath === undefined) return false;
  const placement = await fillAndPlace(job, incompletePath, connection, options);
  if (placement === 'lost') return await fetchFile(job, connection, options);
  await removeIncompleteFiles(job.incompletePrefix).catch(() => undefined); // They do no harm.
  return placement === 'placed';
}

/** @returns the path of a half-written file, or `undefined` where the whole file is there. */
async function begin(
  { path, incompletePrefix, isWhole }: FileJob,
  { limits, signal }: AttemptOptions,
): Promise<string | undefined> {
  await mkdir(dirname(path), { recursive: true });
  const leftovers = await findLeftovers(incompletePrefix, limits.abandonedAfterMs, signal);
  // Asked last, because a download may have finished while its half-written file was watched.
  return (await isWhole()) ? undefined : await beginIncompleteFile(incompletePrefix, leftovers);
}

/** `was-there`: another download put the whole file there. `lost`: another download took the half-written file. */
type Placement = 'placed' | 'was-there' | 'lost';

async function fillAndPlace(
  job: FileJob,
  incompletePath: string,
  connection: HubConnection,
  options: AttemptOptions,
): Promise<Placement> {
  try {
    await fillAndCheck(job, incompletePath, connection, options);
    await explainWriteErrors(job.path, () => rename(incompletePath, job.path));
    return 'placed';
  } catch (thrown) {
    if (!(thrown instanceof CheckpointError)) throw thrown;
    // A download that was first removes the files of the others; and some systems do not replace a file that is in use.
    if (await job.isWhole()) return 'was-there';
    if (isMissing(thrown.cause)) return 'lost';
    throw thrown;
  } finally {
    await releaseIncompleteFile(incompletePath);
  }
}

async function fillAndCheck(
  job: FileJob,
  path: string,
  connection: HubConnection,
  options: AttemptOptions,
): Promise<void> {
  const growing = await GrowingFile.open(path, job.file, options.limits.abandonedAfterMs);
  try {
    const isResumed = growing.receivedBytes > 0;
    job.onBytes(growing.receivedBytes);
    await fill(job, growing, connection, options);
    if (isResumed && !growing.isMatch) {
      // The bytes of the earlier attempt may be the wrong ones, after a power cut for example.
      await growing.restart();
      await fill(job, growing, connection, options);
    }
    await requireMatch(job, growing);
    await growing.sync();
  } finally {
    await growing.close();
  }
}

/** Fetches the missing bytes, in as many attempts as it takes. */
async function fill(
  job: FileJob,
  growing: GrowingFile,
  connection: HubConnection,
  options: AttemptOptions,
): Promise<void> {
  const { sizeBytes } = job.file;
  await withRetries(async (progressed) => {
    if (growing.receivedBytes === sizeBytes) return;
    const answer = await connection.get(job.url, rangeFrom(growing.receivedBytes), options.inquiry);
    // A server may ignore the range and send the whole file.
    const startBytes = answer.status === 206 ? growing.receivedBytes : 0;
    requireRest(answer, startBytes, job, options);
    if (startBytes < growing.receivedBytes) await growing.restart();
    for await (const chunk of answer.body) {
      await growing.append(chunk);
      job.onBytes(growing.receivedBytes);
      if (growing.receivedBytes - startBytes >= WORTHWHILE_BYTES) progressed();
    }
    if (growing.receivedBytes < sizeBytes) throw new PassingFailure('a body that ended too early');
  }, options);
}

function rangeFrom(startBytes: number): Readonly<Record<string, string>> {
  return startBytes === 0 ? {} : { range: `bytes=${startBytes}-` };
}

/** Refuses other bytes than the rest of the file: the login page of a network has another size, for example. */
function requireRest(answer: HubAnswer, startBytes: number, { file }: FileJob, options: AttemptOptions): void {
  const restBytes = file.sizeBytes - startBytes;
  const length = answer.header('content-length') ?? String(restBytes);
  const range = answer.header('content-range') ?? '';
  if (Number(length) === restBytes && (answer.status !== 206 || range.startsWith(`bytes ${startBytes}-`))) return;
  throw new CheckpointError(
    'CHECKPOINT_DOWNLOAD_FAILED',
    `${options.inquiry.subject}: expected ${restBytes} bytes from byte ${startBytes} on, got ${length} bytes ${range}. ` +
      'Something between this machine and the Hub answers in its place.',
  );
}

/** Removes bytes that are not the file's, so that no later attempt begins with them. */
async function requireMatch({ file, path }: FileJob, growing: GrowingFile): Promise<void> {
  if (growing.isMatch) return;
  await rm(growing.path, { force: true });
  throw new CheckpointError(
    'CHECKPOINT_DOWNLOAD_FAILED',
    `${path}: expected ${file.name} with ${describeChecksum(file.checksum)}, got ${growing.digest}. ` +
      'It was removed. Should this happen again, the server or something before it changes files.',
  );
}
