import type { Readable } from 'node:stream';
import { type AddressPolicy, BlockedAddressError, isListed, type LookupAll } from '../../network/address-guard.ts';
import { discardBody } from '../../network/discard-body.ts';
import { GuardedConnections } from '../../network/guarded-connections.ts';
import type { HttpAnswer } from '../../network/http-get.ts';
import { followRedirects, type RedirectProblem } from '../../network/redirects.ts';
import { HandlerError } from '../../protocol/errors.ts';

export interface ImageFetchOptions extends AddressPolicy {
  /** The only hosts that images may come from; empty for all. Names are exact, or `*.` and a domain, or `*` for all. */
  readonly allowedHosts: readonly string[];
  /** Refuses http URLs. */
  readonly httpsOnly: boolean;
  /** From the first byte sent to the last byte read, redirects included. */
  readonly timeoutMs: number;
  readonly maxBytes: number;
  readonly maxRedirects: number;
  /** Finds the addresses of names; the system does by default. */
  readonly lookupAll?: LookupAll;
  /** Ends the fetch with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Some hosts refuse requests without a user agent. */
const requestHeaders = { 'user-agent': 'blip-handler', accept: 'image/*,*/*;q=0.8', 'accept-encoding': 'identity' };

/** The process's connections to hosts of images: models share them where their policies are equal. */
const connections = new GuardedConnections();

/**
 * Fetches an image by http or https. Every redirect passes the same checks as the first URL. Messages never repeat what
 * the server sent.
 * @throws HandlerError `IMAGE_SOURCE_INVALID`, `IMAGE_SOURCE_BLOCKED`, `IMAGE_FETCH_FAILED`, `IMAGE_FETCH_TIMEOUT` or
 *   `IMAGE_TOO_LARGE`; the signal's reason.
 */
export async function fetchImage(url: URL, options: ImageFetchOptions): Promise<Uint8Array> {
  const timeout = AbortSignal.timeout(options.timeoutMs);
  const signals = options.signal === undefined ? [timeout] : [timeout, options.signal];
  try {
    return await follow(url, options, AbortSignal.any(signals));
  } catch (thrown) {
    options.signal?.throwIfAborted();
    throw fetchFailure(thrown, timeout.aborted ? options.timeoutMs : undefined);
  }
}

/** @param expiredMs the limit of time, where it has passed. */
function fetchFailure(cause: unknown, expiredMs: number | undefined): HandlerError {
  if (cause instanceof HandlerError) return cause;
  if (isBlocked(cause)) return blocked('one that has an address inside a network', cause);
  if (expiredMs === undefined) {
    const message = 'Expected an answer from the host of the image, got none.';
    return new HandlerError('IMAGE_FETCH_FAILED', message, { cause });
  }
  const message = `Expected the image within ${expiredMs} ms, got no whole answer by then.`;
  return new HandlerError('IMAGE_FETCH_TIMEOUT', message, { cause });
}

async function follow(first: URL, options: ImageFetchOptions, signal: AbortSignal): Promise<Uint8Array> {
  const get = connections.under({ privateHosts: options.privateHosts }, options.lookupAll);
  const answer = await followRedirects(first, {
    maxRedirects: options.maxRedirects,
    check: (url, previous) => requireAllowed(url, previous, options),
    send: (url) => get(withoutCredentials(url), { headers: requestHeaders, signal }),
    failure: (problem) => redirectFailure(problem, options),
  });
  return await readBody(answer, options.maxBytes);
}

function redirectFailure(problem: RedirectProblem, { maxRedirects }: ImageFetchOptions): HandlerError {
  const messages = {
    'not-a-url': 'Expected a redirect to a URL, got one to something else.',
    'too-many': `Expected the image after at most ${maxRedirects} redirects, got one more.`,
  };
  return new HandlerError('IMAGE_FETCH_FAILED', messages[problem]);
}

/**
 * Refuses URLs that images may not come from: the first URL, and each that it is redirected to.
 * @param previous the URL that redirected to `url`; for the first URL, that URL itself.
 * @throws HandlerError `IMAGE_SOURCE_INVALID` or `IMAGE_SOURCE_BLOCKED`.
 */
export function requireAllowed(url: URL, previous: URL, { httpsOnly, allowedHosts }: ImageFetchOptions): void {
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new HandlerError(
      'IMAGE_SOURCE_INVALID',
      `Expected an http or https URL, got one of ${url.protocol.slice(0, -1)}.`,
    );
  }
  if (url.protocol === 'http:' && httpsOnly) throw blocked('one of http, and this service takes https only');
  if (url.protocol === 'http:' && previous.protocol === 'https:') throw blocked('an https URL redirected to http');
  if (allowedHosts.length > 0 && !isListed(url.hostname, allowedHosts)) throw blocked('one of another host');
}

function blocked(got: string, cause?: unknown): HandlerError {
  return new HandlerError('IMAGE_SOURCE_BLOCKED', `Expected the URL of a host that images may come from, got ${got}.`, {
    cause,
  });
}

/** Whether the guard of addresses is behind an error. Connecting to several addresses gathers their errors. */
function isBlocked(thrown: unknown): boolean {
  if (thrown instanceof AggregateError) return thrown.errors.some(isBlocked);
  if (!(thrown instanceof Error)) return false;
  return thrown instanceof BlockedAddressError || isBlocked(thrown.cause);
}

/** User name and password of a URL are not sent to its host. */
function withoutCredentials(url: URL): URL {
  const plain = new URL(url);
  plain.username = '';
  plain.password = '';
  return plain;
}

async function readBody({ status, headers, body }: HttpAnswer, maxBytes: number): Promise<Uint8Array> {
  if (status !== 200) {
    discardBody(body);
    throw new HandlerError('IMAGE_FETCH_FAILED', `Expected the host of the image to answer 200, got ${status}.`);
  }
  const declaredBytes = Number(headers['content-length'] ?? 0);
  const bytes = declaredBytes <= maxBytes ? await readAtMost(body, maxBytes) : undefined;
  if (bytes !== undefined) return bytes;
  discardBody(body);
  throw new HandlerError('IMAGE_TOO_LARGE', `Expected an image of at most ${maxBytes} bytes, got more.`);
}

/** The whole body, or `undefined` when it has more bytes. */
async function readAtMost(body: Readable, maxBytes: number): Promise<Uint8Array | undefined> {
  const chunks: Buffer[] = [];
  let receivedBytes = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    receivedBytes += chunk.length;
    if (receivedBytes > maxBytes) return undefined;
  }
  return Buffer.concat(chunks);
}
