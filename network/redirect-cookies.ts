import type { IncomingHttpHeaders } from 'node:http';
import { isIP } from 'node:net';
import type { Cookie } from 'undici';
import { plainHost } from './host-names.ts';

/** Browsers keep no longer cookie, and few hosts set more in one answer. */
const MAX_COOKIE_CHARACTERS = 4_096;
const MAX_COOKIES = 50;
/** The longest header that is sent: more than hosts take. */
const MAX_HEADER_CHARACTERS = 16_384;

interface KeptCookie {
  readonly name: string;
  readonly value: string;
  readonly domain: string;
  /** Whether hosts below the domain get it too. */
  readonly isForSubdomains: boolean;
  readonly path: string;
  readonly isSecure: boolean;
}

/**
 * The cookies of one fetch: some hosts set one in a redirect, and send whoever comes back without it around in a circle.
 * They live as long as the fetch, so no fetch learns of another one. Domains are matched as RFC 6265 says. There is no
 * list of public suffixes, because a host that redirects can tell the next one anything in its URL.
 */
export class RedirectCookies {
  #cookies: readonly KeptCookie[] = [];

  /** Takes the cookies that an answer of `url` sets. */
  async store(url: URL, headers: IncomingHttpHeaders): Promise<void> {
    const set = headers['set-cookie'];
    if (set === undefined) return;
    const { parseCookie } = await import('undici'); // Few hosts set cookies, and it takes long to load.
    for (const text of set.slice(0, MAX_COOKIES)) {
      const cookie = text.length > MAX_COOKIE_CHARACTERS ? null : parseCookie(text);
      if (cookie !== null) this.#keep({ ...cookie, ...(hasNegativeAge(text) ? { maxAge: 0 } : {}) }, url);
    }
  }

  /** The header with the cookies for a URL; nothing where there are none. */
  headerFor(url: URL): { readonly cookie?: string } {
    const sent = this.#cookies.filter((cookie) => isFor(cookie, url)).map(({ name, value }) => toPair(name, value));
    const header = sent.join('; ');
    return header === '' || header.length > MAX_HEADER_CHARACTERS ? {} : { cookie: header };
  }

  #keep(cookie: Cookie, url: URL): void {
    const host = plainHost(url.hostname);
    const given = plainHost(cookie.domain ?? '').replace(/^\./, '');
    const domain = given || host;
    // Only letters that a header may have.
    if (!isBelow(host, domain) || !/^[\x20-\x7e]*$/.test(`${cookie.name}${cookie.value}`)) return;
    const path = cookie.path?.startsWith('/') ? cookie.path : defaultPath(url);
    const others = this.#cookies.filter(
      (each) => each.name !== cookie.name || each.domain !== domain || each.path !== path,
    );
    const kept = {
      name: cookie.name,
      value: cookie.value,
      domain,
      isForSubdomains: given !== '',
      path,
      isSecure: cookie.secure === true,
    };
    this.#cookies = isOver(cookie) ? others : [...others, kept].slice(-MAX_COOKIES);
  }
}

function toPair(name: string, value: string): string {
  return name === '' ? value : `${name}=${value}`;
}

/** RFC 6265, 5.2.2: such a cookie is over. undici leaves the age away. */
function hasNegativeAge(text: string): boolean {
  return /;\s*max-age\s*=\s*-\d+\s*(?:;|$)/i.test(text);
}

/** A host takes a cookie back by one that is over. */
function isOver({ maxAge, expires }: Cookie): boolean {
  if (maxAge !== undefined) return maxAge <= 0;
  return expires !== undefined && Number(expires) <= Date.now();
}

function isFor({ domain, isForSubdomains, path, isSecure }: KeptCookie, url: URL): boolean {
  const host = plainHost(url.hostname);
  const isOfHost = isForSubdomains ? isBelow(host, domain) : host === domain;
  return isOfHost && isWithin(url.pathname, path) && (!isSecure || url.protocol === 'https:');
}

/** RFC 6265, 5.1.3: an address has nothing below it. */
function isBelow(host: string, domain: string): boolean {
  return host === domain || (host.endsWith(`.${domain}`) && isIP(host) === 0);
}

/** RFC 6265, 5.1.4. */
function isWithin(pathname: string, path: string): boolean {
  return pathname === path || pathname.startsWith(path.endsWith('/') ? path : `${path}/`);
}

/** RFC 6265, 5.1.4: the path of the URL up to its last slash. */
function defaultPath({ pathname }: URL): string {
  return pathname.slice(0, pathname.lastIndexOf('/')) || '/';
}
