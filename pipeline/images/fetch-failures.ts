import { BlockedAddressError } from '../../network/address-guard.ts';
import { CodingError, type CodingProblem, codingNames } from '../../network/content-codings.ts';
import { HostFailure, type HostProblem } from '../../network/host-failure.ts';
import type { RedirectProblem } from '../../network/redirects.ts';
import { type ErrorCode, HandlerError } from '../../protocol/errors.ts';

/** The longest name of a host: RFC 1035. */
const MAX_NAME_CHARACTERS = 253;

/**
 * The host of a URL as its sender wrote it, for messages. It differs from the parsed host where that is in other letters,
 * or is an address in another spelling.
 * @param source a text that parses as a URL.
 */
export function writtenHost(source: string): string {
  const [, authority = ''] = /^[^:]*:[/\\]*([^/\\?#]*)/.exec(source.trim()) ?? [];
  const [host = ''] = /^(?:\[[^\]]*\]|[^:]*)/.exec(authority.slice(authority.lastIndexOf('@') + 1)) ?? [];
  return host.replace(/[\p{C}\p{Z}"]/gu, '').slice(0, MAX_NAME_CHARACTERS);
}

/** The host that is asked, for messages: where it was redirected to is the other host's affair, and stays unsaid. */
export function hostPhrase(written: string, isRedirected: boolean): string {
  return isRedirected ? `a host that "${written}" redirects to` : `the host "${written}"`;
}

/** The codes of hosts without an answer, and how their messages end and begin. */
const hostProblems: Readonly<Record<HostProblem, readonly [ErrorCode, (host: string) => string]>> = {
  'no-address': [
    'IMAGE_HOST_NOT_FOUND',
    (host) => `Expected a public address of ${host}, got none: its name is unknown or not public.`,
  ],
  'names-unanswered': [
    'IMAGE_HOST_NOT_FOUND',
    (host) => `Expected an address of ${host}, got no answer from the name servers.`,
  ],
  unreachable: [
    'IMAGE_HOST_UNREACHABLE',
    (host) => `Expected a connection to ${host}, got none: it is refused, or does not open in time.`,
  ],
  tls: [
    'IMAGE_HOST_TLS_FAILED',
    (host) =>
      `Expected TLS with a certificate that can be verified from ${host}, got none: the handshake fails, or the ` +
      "certificate is expired, self-signed or another host's.",
  ],
  'not-http': [
    'IMAGE_HOST_NOT_HTTP',
    (host) => `Expected an HTTP answer from ${host}, got something else, or nothing before the connection ended.`,
  ],
};

const codingProblems: Readonly<Record<Exclude<CodingProblem, 'too-large'>, string>> = {
  'too-many': 'got one in more than five codings',
  unknown: 'got one in another coding',
  invalid: 'got one that is not in the coding that its headers name',
};

/** The error for whatever ended a fetch before its time was over. */
export function fetchFailure(cause: unknown, host: string, maxBytes: number): HandlerError {
  if (cause instanceof HandlerError) return cause;
  if (cause instanceof BlockedAddressError) return blocked('one that has an address inside a network', cause);
  if (cause instanceof HostFailure) {
    const [code, message] = hostProblems[cause.problem];
    return new HandlerError(code, message(host), { cause });
  }
  if (cause instanceof CodingError) return codingFailure(cause, host, maxBytes);
  return new HandlerError(
    'IMAGE_FETCH_FAILED',
    `Expected the whole image from ${host}, got an answer that breaks off.`,
    {
      cause,
    },
  );
}

function codingFailure(cause: CodingError, host: string, maxBytes: number): HandlerError {
  if (cause.problem === 'too-large') return tooLarge(maxBytes);
  const expected = `Expected a body without Content-Encoding, or in ${codingNames.join(', ')}, from ${host}`;
  return new HandlerError('IMAGE_FETCH_FAILED', `${expected}, ${codingProblems[cause.problem]}.`, { cause });
}

export function redirectFailure(problem: RedirectProblem, host: string, maxRedirects: number): HandlerError {
  const messages = {
    'not-a-url': `Expected a redirect to a URL from ${host}, got one to something else.`,
    'too-many': `Expected the image from ${host} after at most ${maxRedirects} redirects, got one more.`,
  };
  return new HandlerError('IMAGE_FETCH_FAILED', messages[problem]);
}

export function lateFailure(host: string, timeoutMs: number, cause: unknown): HandlerError {
  const message = `Expected the image from ${host} within ${timeoutMs} ms, got no whole answer by then.`;
  return new HandlerError('IMAGE_FETCH_TIMEOUT', message, { cause });
}

export function blocked(got: string, cause?: unknown): HandlerError {
  return new HandlerError('IMAGE_SOURCE_BLOCKED', `Expected the URL of a host that images may come from, got ${got}.`, {
    cause,
  });
}

export function tooLarge(maxBytes: number): HandlerError {
  return new HandlerError('IMAGE_TOO_LARGE', `Expected an image of at most ${maxBytes} bytes, got more.`);
}
