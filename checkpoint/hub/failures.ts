import { CheckpointError } from '../errors.ts';
import { errorCode } from '../files/file-errors.ts';

/** What is asked of the Hub, for messages. Holds no token. */
export interface Inquiry {
  /** `owner/name@revision`, or with `: file` behind it. */
  readonly place: string;
  readonly modelUrl: string;
  readonly endpoint: string;
  readonly hasToken: boolean;
}

/** A failure that may pass: the connection was cut, or the server asks to come again. */
export class PassingFailure extends Error {
  override readonly name = 'PassingFailure';
  /** As the server's Retry-After has it. */
  readonly retryAfterMs: number | undefined;

  /** `got` completes "expected an answer, got …". */
  constructor(got: string, options: ErrorOptions & { readonly retryAfterMs?: number | undefined } = {}) {
    super(got, options);
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** What may be otherwise in a moment: also whatever a content network says with a number of its own, such as 520. */
function mayPass(status: number): boolean {
  return status === 408 || status === 429 || status >= 500;
}

/**
 * What an answer other than 2xx means. The server's own words are not repeated; its X-Error-Code is read, as
 * huggingface_hub does in `hf_raise_for_status`.
 */
export function statusFailure(
  status: number,
  header: (name: string) => string | undefined,
  inquiry: Inquiry,
): CheckpointError | PassingFailure {
  const code = header('x-error-code');
  if (mayPass(status)) {
    return new PassingFailure(`status ${status}`, { retryAfterMs: retryAfterMs(header('retry-after')) });
  }
  if (code === 'GatedRepo' || status === 403) return gated(status, inquiry);
  if (status === 401) return unauthorized(inquiry);
  if (status === 404) return notFound(code, inquiry);
  return new CheckpointError(
    'CHECKPOINT_DOWNLOAD_FAILED',
    `${inquiry.place}: expected ${inquiry.endpoint} to answer with a file, got status ${status}.`,
  );
}

function gated(status: number, { place, modelUrl, hasToken }: Inquiry): CheckpointError {
  const token = hasToken
    ? 'the account that HF_TOKEN belongs to; a fine-grained token must be allowed to read it'
    : 'your account, and set HF_TOKEN to a token of it';
  return new CheckpointError(
    'CHECKPOINT_ACCESS_DENIED',
    `${place}: expected access, got ${status}. Accept the terms at ${modelUrl} with ${token}.`,
  );
}

/** The Hub answers 401 for models that do not exist, too: it does not say which private ones do. */
function unauthorized({ place, modelUrl, hasToken }: Inquiry): CheckpointError {
  const advice = hasToken
    ? `The token in HF_TOKEN (or the token file) is not valid, or has no access to ${modelUrl}`
    : `Either there is no ${modelUrl}, or it is private or gated: check the name, or set HF_TOKEN`;
  return new CheckpointError('CHECKPOINT_ACCESS_DENIED', `${place}: expected access, got 401. ${advice}.`);
}

function notFound(code: string | undefined, { place, modelUrl, hasToken }: Inquiry): CheckpointError {
  if (code === 'RevisionNotFound') {
    return new CheckpointError(
      'CHECKPOINT_NOT_FOUND',
      `${place}: expected that revision at ${modelUrl}, got none. Branches, tags, commits and refs/pr/NUMBER are revisions.`,
    );
  }
  if (code === 'EntryNotFound') {
    return new CheckpointError('CHECKPOINT_DOWNLOAD_FAILED', `${place}: expected the file that was listed, got none.`);
  }
  const privacy = hasToken ? '' : ' If it is private, set HF_TOKEN.';
  return new CheckpointError(
    'CHECKPOINT_NOT_FOUND',
    `${place}: expected a checkpoint folder or a model at ${modelUrl}, got neither. Check the name.${privacy}`,
  );
}

/** Retry-After in seconds or as a date. */
function retryAfterMs(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}

/** The download was given up after several attempts. */
export function gaveUp(inquiry: Inquiry, failure: PassingFailure, attempts: number): CheckpointError {
  return new CheckpointError(
    'CHECKPOINT_DOWNLOAD_FAILED',
    `${inquiry.place}: expected ${inquiry.endpoint} to answer, got ${failure.message} at attempt ${attempts}. ` +
      'Check the network and the proxy variables; HF_ENDPOINT names a mirror. What has arrived is kept for the next try.',
    { cause: failure },
  );
}

/** The certificate of the other side is not trusted: trying again does not help. */
export function untrustedCertificate(inquiry: Inquiry, cause: unknown): CheckpointError {
  return new CheckpointError(
    'CHECKPOINT_DOWNLOAD_FAILED',
    `${inquiry.place}: expected a trusted certificate of ${inquiry.endpoint}, got ${errorCode(cause)}. ` +
      'Behind a proxy that opens TLS, let NODE_EXTRA_CA_CERTS name its certificate.',
    { cause },
  );
}

/** A file of the cache or of the folder given cannot be written. */
export function writeFailure(path: string, cause: unknown): CheckpointError {
  const code = errorCode(cause);
  const message = ['ENOSPC', 'EDQUOT'].includes(code)
    ? `expected free space on the disk, got ${code}. What has arrived is kept; free some space and try again`
    : isReadOnly(cause)
      ? `expected a place that can be written, got ${code}. HF_HUB_CACHE or --folder names another place`
      : `expected to write it, got ${code}`;
  return new CheckpointError('CHECKPOINT_DOWNLOAD_FAILED', `${path}: ${message}.`, { cause });
}

/** ENOENT is what Node's recursive mkdir says of a read-only file system. */
export function isReadOnly(cause: unknown): boolean {
  return ['EACCES', 'EPERM', 'EROFS', 'ENOENT'].includes(errorCode(cause));
}

/** Runs an action on files; what it throws is a CheckpointError that names the path. */
export async function writing<T>(path: string, action: () => Promise<T> | T): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    throw cause instanceof CheckpointError ? cause : writeFailure(path, cause);
  }
}
