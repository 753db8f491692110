import { type AddressPolicy, isListed, type LookupAll } from '../../network/address-guard.ts';
import { GuardedConnections } from '../../network/guarded-connections.ts';
import type { HttpGet } from '../../network/http-get.ts';
import { RedirectCookies } from '../../network/redirect-cookies.ts';
import { followRedirects } from '../../network/redirects.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { FetchDeadline } from './fetch-deadline.ts';
import { blocked, fetchFailure, hostPhrase, redirectFailure } from './fetch-failures.ts';
import { FetchedByteBudget, type FetchedBytes } from './fetched-bytes.ts';
import { type FetchedImage, readImageBody } from './image-body.ts';

export interface ImageFetchOptions extends AddressPolicy {
  /** The only hosts that images may come from; empty for all. Names are exact, or `*.` and a domain, or `*` for all. */
  readonly allowedHosts: readonly string[];
  /** Refuses http URLs. */
  readonly httpsOnly: boolean;
  /** From the first byte sent to the last byte read, redirects included. Waiting for memory does not count. */
  readonly timeoutMs: number;
  readonly maxBytes: number;
  readonly maxRedirects: number;
  /** Who asks hosts for images. */
  readonly userAgent?: string;
  /** Finds the addresses of names, in place of `nameServers`. */
  readonly lookupAll?: LookupAll;
  /** Addresses of the name servers that are asked, or `system` for all that the system asks; empty for its servers. */
  readonly nameServers?: 'system' | readonly string[];
  /** Ends the fetch with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** How a fetch that stands alone is counted. */
const ownBudget = new FetchedByteBudget();

/** The process's connections to hosts of images: models share them where their policies are equal. */
const connections = new GuardedConnections();

/** The host of an image, and the memory that its bytes take. */
export interface FetchContext {
  /** As the sender of the request wrote it. */
  readonly host: string;
  readonly fetchedBytes: FetchedBytes;
}

/**
 * Fetches an image by http or https. Every redirect passes the same checks as the first URL. Messages never repeat what
 * the server sent.
 * @throws HandlerError with a code that begins with `IMAGE_`; the signal's reason.
 */
export async function fetchImage(
  url: URL,
  options: ImageFetchOptions,
  { host, fetchedBytes }: FetchContext = { host: url.host, fetchedBytes: ownBudget.open(undefined, undefined) },
): Promise<FetchedImage> {
  const deadline = new FetchDeadline(options.timeoutMs);
  const signals = options.signal === undefined ? [deadline.signal] : [deadline.signal, options.signal];
  const signal = AbortSignal.any(signals);
  let asked = url;
  try {
    const get = getWithCookies(options, signal);
    const answer = await followRedirects(url, {
      maxRedirects: options.maxRedirects,
      check: (next, previous) => requireAllowed(next, previous, options),
      send: (next) => {
        asked = next;
        return get(next);
      },
      failure: (problem) => redirectFailure(problem, options.maxRedirects),
    });
    const body = { maxBytes: options.maxBytes, fetchedBytes, deadline, signal };
    return await readImageBody(answer, hostPhrase(host, asked.hostname !== url.hostname), body);
  } catch (thrown) {
    options.signal?.throwIfAborted();
    if (deadline.signal.aborted) throw lateFailure(options.timeoutMs, thrown);
    throw fetchFailure(thrown, hostPhrase(host, asked.hostname !== url.hostname), options.maxBytes);
  } finally {
    deadline.end();
  }
}

function lateFailure(timeoutMs: number, cause: unknown): HandlerError {
  const message = `Expected the image within ${timeoutMs} ms, got no whole answer by then.`;
  return new HandlerError('IMAGE_FETCH_TIMEOUT', message, { cause });
}

/**
 * Sends the GETs of one image. Images are compressed already, so that no other coding is asked for. Some hosts refuse
 * requests that name no program or no language.
 */
function getWithCookies(options: ImageFetchOptions, signal: AbortSignal): (url: URL) => ReturnType<HttpGet> {
  const get = connections.under(options, options.lookupAll ?? options.nameServers);
  const cookies = new RedirectCookies();
  const common = {
    'user-agent': options.userAgent ?? 'blip-handler',
    accept: 'image/*,*/*;q=0.8',
    'accept-encoding': 'identity',
    'accept-language': 'en,*;q=0.5',
  };
  return async (url) => {
    const answer = await get(withoutCredentials(url), { headers: { ...common, ...cookies.headerFor(url) }, signal });
    await cookies.store(url, answer.headers);
    return answer;
  };
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

/** User name and password of a URL are not sent to its host. */
function withoutCredentials(url: URL): URL {
  const plain = new URL(url);
  plain.username = '';
  plain.password = '';
  return plain;
}
