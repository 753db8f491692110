import { type ListFileEntry, listFiles, modelInfo } from '@huggingface/hub';
import { CheckpointError } from '../errors.ts';
import { QFORMER_TOKENIZER_FOLDER, qformerTokenizerFiles } from '../files/settings-files.ts';
import { type AttemptOptions, withRetries } from './attempts.ts';
import { isCommit } from './cache-layout.ts';
import type { HubConnection } from './connection.ts';
import type { HubReference } from './reference.ts';

/** A file of the Hub, from its listing. */
export interface RemoteFile {
  readonly name: string;
  readonly sizeBytes: number;
  readonly checksum: Checksum;
}

/**
 * Large files have the SHA-256 of their bytes, the others git's SHA-1 of a blob. It is also the file's ETag, and so its
 * name in the cache.
 */
export interface Checksum {
  readonly algorithm: 'sha256' | 'git-sha1';
  readonly hex: string;
}

const hexPatterns: Readonly<Record<Checksum['algorithm'], RegExp>> = {
  sha256: /^[0-9a-f]{64}$/,
  'git-sha1': /^[0-9a-f]{40}$/,
};

/** The files in the top folder of a model at one commit, and those of a second tokenizer, by their paths. */
export interface Listing {
  readonly commit: string;
  readonly files: ReadonlyMap<string, RemoteFile>;
}

/**
 * Asks the Hub for the commit of a revision and for its files, through @huggingface/hub. The library gets neither token
 * nor network: it uses the connection, which knows where the token may go. The files are asked for by commit, because
 * the library does not encode the slashes of a revision there.
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
    throw malformed(options.inquiry.subject, 'JSON', { cause: thrown });
  }
}

async function list(
  { name, revision }: HubReference,
  connection: HubConnection,
  options: AttemptOptions,
): Promise<Listing> {
  const { endpoint, subject } = options.inquiry;
  const shared = { hubUrl: endpoint, fetch: fetchThrough(connection, options) };
  const commit: unknown = (await modelInfo({ ...shared, name, revision, additionalFields: ['sha'] })).sha;
  if (typeof commit !== 'string' || !isCommit(commit)) throw malformed(subject, 'a commit');
  const files = new Map<string, RemoteFile>();
  const entriesOf = (path: string) =>
    listFiles({ ...shared, repo: { type: 'model', name }, revision: commit, ...(path === '' ? {} : { path }) });
  let hasSecondTokenizer = false;
  for await (const entry of entriesOf('')) {
    if (entry.type === 'directory' && entry.path === QFORMER_TOKENIZER_FOLDER) hasSecondTokenizer = true;
    if (entry.type === 'file' && !entry.path.includes('/')) files.set(entry.path, remoteFile(entry, subject));
  }
  if (!hasSecondTokenizer) return { commit, files };
  for await (const entry of entriesOf(QFORMER_TOKENIZER_FOLDER))
    if (entry.type === 'file' && qformerTokenizerFiles.includes(entry.path))
      files.set(entry.path, remoteFile(entry, subject));
  return { commit, files };
}

/** A `fetch` for the library: a GET with retries. Each attempt reads the whole answer, so that a cut is retried too. */
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

/** `link` names the next page. The library reads no other header of an answer. */
function linkHeader(link: string | undefined): Record<string, string> {
  return { 'content-type': 'application/json', ...(link === undefined ? {} : { link }) };
}

/** Checks the entry strictly, because its checksum becomes the name of a file. */
function remoteFile({ path, size, oid, lfs }: ListFileEntry, subject: string): RemoteFile {
  const checksum: Checksum =
    lfs === undefined ? { algorithm: 'git-sha1', hex: String(oid) } : { algorithm: 'sha256', hex: String(lfs.oid) };
  const sizeBytes = lfs?.size ?? size;
  if (!hexPatterns[checksum.algorithm].test(checksum.hex) || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0) {
    throw malformed(subject, `a size and a checksum of ${JSON.stringify(path)}`);
  }
  return { name: path, sizeBytes, checksum };
}

function malformed(subject: string, expected: string, options?: ErrorOptions): CheckpointError {
  return new CheckpointError(
    'CHECKPOINT_DOWNLOAD_FAILED',
    `${subject}: expected ${expected} in the Hub's answer, got something else. ` +
      'HF_ENDPOINT may name something that is no Hub.',
    options,
  );
}
