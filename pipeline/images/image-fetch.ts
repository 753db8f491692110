import { lookup } from 'node:dns';
import { Agent, type Dispatcher, request } from 'undici';
import { HandlerError } from '../../protocol/errors.ts';
import {
  type AddressPolicy,
  BlockedAddressError,
  guardedConnector,
  isListed,
  type LookupAll,
} from './address-guard.ts';

export interface ImageFetchOptions extends AddressPolicy {
  /** Refuses http URLs. */
  readonly httpsOnly: boolean;
  /** From the first byte sent to the last byte read, redirects included. */
  readonly timeoutMs: number;
  readonly maxBytes: number;
  readonly maxRedirects: number;
  /** Finds the addresses of names; the system does where it is absent. */
  readonly lookupAll?: LookupAll;
  /** Fetching ends with its reason when it aborts. */
  readonly signal?: AbortSignal | undefined;
}

const redirectStatuses = new Set([301, 302, 303, 307, 308]);
/** Some hosts refuse requests without one. */
const USER_AGENT = 'blip-handler';
/** How long a connection that nobody uses is kept. */
const KEEP_ALIVE_MS = 4_000;

/** By who finds addresses and which hosts may be private: a connection that was allowed is used again by those only. */
const dispatchers = new WeakMap<LookupAll, Map<string, Dispatcher>>();

/** Every connection for an image goes through a dispatcher whose connector holds it against the policy. */
function dispatcherFor({ lookupAll = lookup, ...policy }: ImageFetchOptions): Dispatcher {
  const known = dispatchers.get(lookupAll) ?? new Map<string, Dispatcher>();
  dispatchers.set(lookupAll, known);
  const key = policy.privateHosts.join(',');
  const dispatcher =
    known.get(key) ??
    new Agent({
      connections: 32,
      keepAliveTimeout: KEEP_ALIVE_MS,
      keepAliveMaxTimeout: KEEP_ALIVE_MS, // Where the server announces a longer one.
      connect: guardedConnector(policy, lookupAll),
    });
  known.set(key, dispatcher);
  return dispatcher;
}

/**
 * Fetches an image. This is the only file that opens the network for images. Redirects are followed by hand, so that
 * each address passes the same checks; the server's own words never reach the message.
 * @throws HandlerError `IMAGE_SOURCE_INVALID`, `IMAGE_SOURCE_BLOCKED`, `IMAGE_FETCH_FAILED`, `IMAGE_FETCH_TIMEOUT` or `IMAGE_TOO_LARGE`.
 */
export async function fetchImage(url: URL, options: ImageFetchOptions): Promise<Uint8Array> {
  const timeout = AbortSignal.timeout(options.timeoutMs);
  try {
    return await follow(url, options, AbortSignal.any([timeout, ...(options.signal ? [options.signal] : [])]));
  } catch (thrown) {
    options.signal?.throwIfAborted();
    if (thrown instanceof HandlerError) throw thrown;
    if (isBlocked(thrown)) throw blocked('one that has an address inside a network', thrown);
    if (timeout.aborted) {
      throw new HandlerError(
        'IMAGE_FETCH_TIMEOUT',
        `Expected the image within ${options.timeoutMs} ms, got no whole answer by then.`,
        {
          cause: thrown,
        },
      );
    }
    throw new HandlerError('IMAGE_FETCH_FAILED', 'Expected an answer from the host of the image, got none.', {
      cause: thrown,
    });
  }
}

async function follow(first: URL, options: ImageFetchOptions, signal: AbortSignal): Promise<Uint8Array> {
  let url = first;
  let previous = first;
  for (let redirects = 0; redirects <= options.maxRedirects; redirects += 1) {
    requireAllowed(url, previous, options);
    const response = await request(withoutCredentials(url).href, {
      dispatcher: dispatcherFor(options),
      signal,
      headers: { 'user-agent': USER_AGENT, accept: 'image/*,*/*;q=0.8', 'accept-encoding': 'identity' },
    });
    const location = redirectStatuses.has(response.statusCode) ? response.headers['location'] : undefined;
    if (location === undefined) return await readBody(response, options.maxBytes);
    discard(response.body);
    previous = url;
    url = redirectTarget(String(location), url);
  }
  throw new HandlerError(
    'IMAGE_FETCH_FAILED',
    `Expected the image after at most ${options.maxRedirects} redirects, got one more.`,
  );
}

/**
 * What holds for the first URL and for each that it is redirected to.
 * @param previous what redirected to `url`; the first URL comes from itself.
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

/** Connecting to several addresses gathers their errors. */
function isBlocked(thrown: unknown): boolean {
  if (thrown instanceof AggregateError) return thrown.errors.some(isBlocked);
  return thrown instanceof BlockedAddressError || (thrown instanceof Error && isBlockedCause(thrown.cause));
}

function isBlockedCause(cause: unknown): boolean {
  return cause !== undefined && isBlocked(cause);
}

/** A user name and a password in a URL are not sent on. */
function withoutCredentials(url: URL): URL {
  const plain = new URL(url);
  plain.username = '';
  plain.password = '';
  return plain;
}

function redirectTarget(location: string, base: URL): URL {
  if (!URL.canParse(location, base.href)) {
    throw new HandlerError('IMAGE_FETCH_FAILED', 'Expected a redirect to a URL, got one to something else.');
  }
  return new URL(location, base);
}

async function readBody({ statusCode, headers, body }: Dispatcher.ResponseData, maxBytes: number): Promise<Uint8Array> {
  if (statusCode !== 200) {
    discard(body);
    throw new HandlerError('IMAGE_FETCH_FAILED', `Expected the host of the image to answer 200, got ${statusCode}.`);
  }
  const declaredBytes = Number(headers['content-length'] ?? 0);
  const chunks: Buffer[] = [];
  let receivedBytes = 0;
  if (declaredBytes <= maxBytes) {
    for await (const chunk of body) {
      chunks.push(chunk);
      receivedBytes += chunk.length;
      if (receivedBytes > maxBytes) break;
    }
  }
  if (Math.max(declaredBytes, receivedBytes) > maxBytes) {
    discard(body);
    throw new HandlerError('IMAGE_TOO_LARGE', `Expected an image of at most ${maxBytes} bytes, got more.`);
  }
  return Buffer.concat(chunks);
}

/** Gives up the rest of a body at once: it may never end. Without the listener, its abort would be an uncaught error. */
function discard(body: Dispatcher.ResponseData['body']): void {
  body.on('error', () => undefined).destroy();
}
