import { discardBody } from './discard-body.ts';
import { type HttpAnswer, headerValue } from './http-get.ts';

/** Why a redirect is not followed: its Location is no URL, or there were too many before it. */
export type RedirectProblem = 'not-a-url' | 'too-many';

/** How a caller follows redirects: what it allows, what it sends, and how it fails. */
export interface RedirectPolicy {
  readonly maxRedirects: number;
  /**
   * Throws where a URL must not be asked. Called for the first URL and for each that it is redirected to.
   * @param previous the URL that redirected to `url`; for the first URL, that URL itself.
   */
  readonly check: (url: URL, previous: URL) => void;
  /** Sends one GET. Which headers a host gets is decided here, since redirects lead to other hosts. */
  readonly send: (url: URL) => Promise<HttpAnswer>;
  readonly failure: (problem: RedirectProblem) => Error;
}

/** Statuses with a Location to follow: RFC 9110, 15.4. Of a 300, Firefox and curl take the choice that it prefers. */
const redirectStatuses = new Set([300, 301, 302, 303, 307, 308]);

/**
 * Sends a GET and follows its redirects by hand, so that every hop passes the caller's checks.
 * @returns the first answer that is no redirect, or a redirect without a Location, or with an empty one.
 * @throws whatever `check` and `send` throw, and the error that `failure` makes.
 */
export async function followRedirects(
  first: URL,
  { maxRedirects, check, send, failure }: RedirectPolicy,
): Promise<HttpAnswer> {
  let url = first;
  let previous = first;
  for (let redirects = 0; redirects <= maxRedirects; redirects += 1) {
    check(url, previous);
    const answer = await send(url);
    const location = redirectStatuses.has(answer.status) ? locationOf(answer) : undefined;
    if (location === undefined) return answer;
    discardBody(answer.body);
    if (!URL.canParse(location, url.href)) throw failure('not-a-url');
    previous = url;
    url = new URL(location, url);
  }
  throw failure('too-many');
}

/**
 * A Location in ASCII. Many hosts send UTF-8 as it is, which arrives as one character a byte. Each such byte is escaped,
 * as Chrome and curl do: so a path keeps its bytes, whatever their encoding, and escapes that are there stay as they are.
 */
function locationOf({ headers }: HttpAnswer): string | undefined {
  const location = headerValue(headers, 'location')?.trim();
  if (location === undefined || location === '') return undefined;
  return location.replace(/[\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`);
}
