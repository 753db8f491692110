import { isIP } from 'node:net';

/** Which host names and which web pages a server answers. `*` stands for all. */

const ALL = '*';

/** The origin of pages without one of their own: files, and frames in a sandbox. */
const OPAQUE_ORIGIN = 'null';

function textsOf(value: string): readonly string[] {
  return value
    .split(',')
    .map((part) => part.trim().toLowerCase())
    .filter((part) => part !== '');
}

/** Host names without their ports, separated by commas; `undefined` for anything else. */
export function parseHosts(value: string): readonly string[] | undefined {
  const hosts = textsOf(value);
  const areValid = hosts.length > 0 && hosts.every((host) => host === ALL || nameOfHost(host) === host);
  return areValid ? hosts : undefined;
}

/** Origins as browsers write them, separated by commas; `undefined` for anything else. */
export function parseOrigins(value: string): readonly string[] | undefined {
  const origins = textsOf(value);
  const isOrigin = (text: string) => text === ALL || text === OPAQUE_ORIGIN || originOf(text) === text;
  return origins.length > 0 && origins.every(isOrigin) ? origins : undefined;
}

function originOf(url: string): string | undefined {
  if (!URL.canParse(url)) return undefined;
  const { protocol, host, origin } = new URL(url);
  return origin === OPAQUE_ORIGIN && host !== '' ? `${protocol}//${host}` : origin; // Such as chrome-extension://….
}

/** The name in a header `Host`, in lower case, without port, brackets and last dot; `undefined` if there is none. */
export function nameOfHost(host: string): string | undefined {
  const [, bracketed, plain] = /^(?:\[([\da-f:.]+)\]|([^\s:/?#@[\]]+))(?::\d*)?$/i.exec(host.trim()) ?? [];
  const name = (bracketed ?? plain ?? (isIP(host) === 6 ? host : '')).toLowerCase().replace(/\.$/, '');
  return name === '' ? undefined : name;
}

/** Whether a request may be sent to this name: it is listed, or is this machine's, which no stranger can point elsewhere. */
export function isAllowedHost(host: string, allowedHosts: readonly string[]): boolean {
  const name = nameOfHost(host);
  if (allowedHosts.includes(ALL)) return true;
  return name !== undefined && (isLoopbackName(name) || allowedHosts.includes(name));
}

function isLoopbackName(name: string): boolean {
  if (isIP(name) !== 0) return name === '::1' || name.startsWith('127.');
  return name === 'localhost' || name.endsWith('.localhost');
}

/** Whether pages of this origin may ask. */
export function isAllowedOrigin(origin: string, allowedOrigins: readonly string[]): boolean {
  return allowedOrigins.includes(ALL) || allowedOrigins.includes(origin.toLowerCase());
}

/** Whether an origin is the server's own, by the host that the request was sent to. */
export function isOwnOrigin(origin: string, host: string): boolean {
  if (!URL.canParse(origin)) return false;
  const { protocol, host: originHost } = new URL(origin);
  const own = `${protocol}//${host}`;
  return URL.canParse(own) && new URL(own).host === originHost;
}
