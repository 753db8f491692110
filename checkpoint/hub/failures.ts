import { CheckpointError } from '../errors.ts';
import { errorCode } from '../files/file-errors.ts';

/** A question to the Hub, for messages. Holds no token. */
export interface Inquiry {
  /** `owner/name@revision`, or `owner/name@revision: file`. */
  readonly subject: string;
  readonly modelUrl: string;
  readonly endpoint: string;
  readonly hasToken: boolean;
}

/** A failure that may pass: the connection was cut, or the server asks to try again later. */
export class PassingFailure extends Error {
  override readonly name = 'PassingFailure';
  /** From the server's Retry-After. */
  readonly retryAfterMs: number | undefined;

  /** `got` completes "expected an answer, got …". */
  constructor(got: string, options: ErrorOptions & { readonly retryAfterMs?: number | undefined } = {}) {
    super(got, options);
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** Statuses that may change soon. Content networks have numbers of their own for such failures, such as 520. */
function mayPass(status: number): boolean {
  return status === 408 || status === 429 || status >= 500;
}

/**
 * The failure that a status other than 2xx stands for. Reads the server's X-Error-Code, as huggingface_hub does in
 * `hf_raise_for_status`, and repeats none of its text.
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
    `${inquiry.subject}: expected ${inquiry.endpoint} to answer with a file, got status ${status}.`,
  );
}

function gated(status: number, { subject, modelUrl, hasToken }: Inquiry): CheckpointError {
  const token = hasToken
    ? 'the account that HF_TOKEN belongs to; a fine-grained token must be allowed to read it'
    : 'your account, and set HF_TOKEN to a token of it';
  return new CheckpointError(
    'CHECKPOINT_ACCESS_DENIED',
    `${subject}: expected access, got ${status}. Accept the terms at ${modelUrl} with ${token}.`,
  );
}

/** The Hub also answers 401 for models that do not exist, so as not to reveal which private ones do. */
function unauthorized({ subject, modelUrl, hasToken }: Inquiry): CheckpointError {
  const advice = hasToken
    ? `The token in HF_TOKEN (or the token file) is not valid, or has no access to ${modelUrl}`
    : `Either there is no ${modelUrl}, or it is private or gated: check the name, or set HF_TOKEN`;
  return new CheckpointError('CHECKPOINT_ACCESS_DENIED', `${subject}: expected access, got 401. ${advice}.`);
}

function notFound(code: string | undefined, { subject, modelUrl, hasToken }: Inquiry): CheckpointError {
  if (code === 'RevisionNotFound') {
    return new CheckpointError(
      'CHECKPOINT_NOT_FOUND',
      `${subject}: expected that revision at ${modelUrl}, got none. ` +
        'Branches, tags, commits and refs/pr/NUMBER are revisions.',
    );
  }
  if (code === 'EntryNotFound') {
    return new CheckpointError(
      'CHECKPOINT_DOWNLOAD_FAILED',
      `${subject}: expected the file that was listed, got none.`,
    );
  }
  const privacy = hasToken ? '' : ' If it is private, set HF_TOKEN.';
  return new CheckpointError(
    'CHECKPOINT_NOT_FOUND',
    `${subject}: expected a checkpoint folder or a model at ${modelUrl}, got neither. Check the name.${privacy}`,
  );
}

/** Retry-After in seconds or as a date. */
function retryAfterMs(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}

/** The error of a download that was given up after several attempts. */
export function gaveUp(inquiry: Inquiry, failure: PassingFailure, attempts: number): CheckpointError {
  return new CheckpointError(
    'CHECKPOINT_DOWNLOAD_FAILED',
    `${inquiry.subject}: expected ${inquiry.endpoint} to answer, got ${failure.message} at attempt ${attempts}. ` +
      'Check the network and the proxy variables; HF_ENDPOINT names a mirror. ' +
      'The bytes that have arrived are kept for the next try.',
    { cause: failure },
  );
}

/** The error of a certificate that is not trusted, where another attempt does not help. */
export function untrustedCertificate(inquiry: Inquiry, cause: unknown): CheckpointError {
  return new CheckpointError(
    'CHECKPOINT_DOWNLOAD_FAILED',
    `${inquiry.subject}: expected a trusted certificate of ${inquiry.endpoint}, got ${errorCode(cause)}. ` +
      'Behind a proxy that opens TLS, let NODE_EXTRA_CA_CERTS name its certificate.',
    { cause },
  );
}

/** The error of a file that cannot be written, in the cache or in the folder of --folder. */
export function writeFailure(path: string, cause: unknown): CheckpointError {
  const code = errorCode(cause);
  const message = isDiskFull(cause)
    ? `expected free space on the disk, got ${code}. The bytes that have arrived are kept: free some space and try again`
    : isReadOnly(cause)
      ? `expected a place that can be written, got ${code}. HF_HUB_CACHE or --folder names another place`
      : `expected to write it, got ${code}`;
  return new CheckpointError('CHECKPOINT_DOWNLOAD_FAILED', `${path}: ${message}.`, { cause });
}

/** Whether the disk, or the user's share of it, has no space left. */
export function isDiskFull(cause: unknown): boolean {
  return ['ENOSPC', 'EDQUOT'].includes(errorCode(cause));
}

/** Node's recursive mkdir throws ENOENT on a read-only file system. */
export function isReadOnly(cause: unknown): boolean {
  return ['EACCES', 'EPERM', 'EROFS', 'ENOENT'].includes(errorCode(cause));
}

/**
 * Runs an action that writes files.
 * @throws CheckpointError in place of an error of the file system; it names the path.
 */
export async function explainWriteErrors<T>(path: string, action: () => Promise<T> | T): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    throw cause instanceof CheckpointError ? cause : writeFailure(path, cause);
  }
}
