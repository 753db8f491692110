import { type ListFileEntry, listFiles, modelInfo } from '@huggingface/hub';
import { CheckpointError } from '../errors.ts';
import { type AttemptOptions, withRetries } from './attempts.ts';
import { isCommit } from './cache-layout.ts';
import type { HubConnection } from './connection.ts';
import type { HubReference } from './reference.ts';

/** A file of the Hub as its listing has it. */
export interface RemoteFile {
  readonly name: string;
  readonly sizeBytes: number;
  readonly checksum: Checksum;
}

/**
 * Large files have the SHA-256 of their bytes, the others git's SHA-1 of a blob. Either is also the file's ETag, and
 * so its name in the cache.
 */
export interface Checksum {
  readonly algorithm: 'sha256' | 'git-sha1';
  readonly hex: string;
}

const hexPatterns: Readonly<Record<Checksum['algorithm'], RegExp>> = {
  sha256: /^[0-9a-f]{64}$/,
  'git-sha1': /^[0-9a-f]{40}$/,
};

/** The files in the top folder of a model at one commit, by name. */
export interface Listing {
  readonly commit: string;
  readonly files: ReadonlyMap<string, RemoteFile>;
}

/**
 * Asks the Hub what a revision stands for and which files it has, through @huggingface/hub. The library is given
 * neither token nor network: both are the connection's, which knows where the token may go. The tree is asked for by
 * commit, since the library does not encode the slashes of a revision there.
 * @throws CheckpointError `CHECKPOINT_NOT_FOUND`, `CHECKPOINT_ACCESS_DENIED` or `CHECKPOINT_DOWNLOAD_FAILED`.
 */
export async function listModel(
  reference: HubReference,
  connection: HubConnection,
  options: AttemptOptions,
): Promise<Listing> {
  try {
    return await list(reference, connection, options);
  } catch (thrown) {
    if (thrown instanceof CheckpointError || options.signal.aborted) throw thrown;
    throw malformed(options.inquiry.place, 'JSON', { cause: thrown });
  }
}

async function list(
  { name, revision }: HubReference,
  connection: HubConnection,
  options: AttemptOptions,
): Promise<Listing> {
  const { endpoint, place } = options.inquiry;
  const shared = { hubUrl: endpoint, fetch: fetchThrough(connection, options) };
  const commit: unknown = (await modelInfo({ ...shared, name, revision, additionalFields: ['sha'] })).sha;
  if (typeof commit !== 'string' || !isCommit(commit)) throw malformed(place, 'a commit');
  const files = new Map<string, RemoteFile>();
  for await (const entry of listFiles({ ...shared, repo: { type: 'model', name }, revision: commit })) {
    if (entry.type === 'file' && !entry.path.includes('/')) files.set(entry.path, remoteFile(entry, place));
  }
  return { commit, files };
}

/** A `fetch` for the library: GET with retries, its answer read whole, so that a cut in it is retried too. */
function fetchThrough(connection: HubConnection, options: AttemptOptions): typeof fetch {
  return async (input, init) => {
    const url = input instanceof Request ? input.url : String(input);
    const headers = Object.fromEntries(new Headers(init?.headers));
    return await withRetries(async () => {
      const answer = await connection.get(url, headers, options.inquiry);
      const chunks: Uint8Array[] = [];
      for await (const chunk of answer.body) chunks.push(chunk);
      return new Response(Buffer.concat(chunks), { status: answer.status, headers: linkHeader(answer.header('link')) });
    }, options);
  };
}

/** Where the next page is: the only header of an answer that the library reads. */
function linkHeader(link: string | undefined): Record<string, string> {
  return { 'content-type': 'application/json', ...(link === undefined ? {} : { link }) };
}

/** Held to what it must be, since the checksum becomes a file's name. */
function remoteFile({ path, size, oid, lfs }: ListFileEntry, place: string): RemoteFile {
  const checksum: Checksum =
    lfs === undefined ? { algorithm: 'git-sha1', hex: String(oid) } : { algorithm: 'sha256', hex: String(lfs.oid) };
  const sizeBytes = lfs?.size ?? size;
  if (!hexPatterns[checksum.algorithm].test(checksum.hex) || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0) {
    throw malformed(place, `a size and a checksum of ${JSON.stringify(path)}`);
  }
  return { name: path, sizeBytes, checksum };
}

function malformed(place: string, expected: string, options?: ErrorOptions): CheckpointError {
  return new CheckpointError(
    'CHECKPOINT_DOWNLOAD_FAILED',
    `${place}: expected ${expected} in the Hub's answer, got something else. HF_ENDPOINT may name something that is no Hub.`,
    options,
  );
}
