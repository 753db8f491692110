import { readFile, stat } from 'node:fs/promises';
import { isIP } from 'node:net';
import { plainHost } from './host-names.ts';

/** Names as the files of a system have them. */
export interface SystemNames {
  /** Addresses by name: hosts(5). */
  readonly hosts: ReadonlyMap<string, readonly string[]>;
  /** Domains that complete a short name, and how many dots make a name long: resolv.conf(5). */
  readonly search: readonly string[];
  readonly dotCount: number;
}

/** Where the files lie. A file that is not there says nothing. */
export interface SystemNameFiles {
  readonly hosts: string;
  readonly resolver: string;
}

export const systemNameFiles: SystemNameFiles =
  process.platform === 'win32'
    ? { hosts: `${process.env['SystemRoot'] ?? 'C:\\Windows'}\\System32\\drivers\\etc\\hosts`, resolver: '' }
    : { hosts: '/etc/hosts', resolver: '/etc/resolv.conf' };

/** Lists of hosts to block have some megabytes. A longer file is not read. */
const MAX_FILE_BYTES = 16_000_000;
/** For so long a file counts as unchanged without a look at it. */
const FRESH_MS = 5_000;
/** The most search domains and dots that glibc takes: resolv.conf(5). */
const MAX_SEARCH_DOMAINS = 32;
const MAX_DOT_COUNT = 15;

/** Reads both files, and again where they have changed. */
export class SystemNameReader {
  readonly #hosts: WatchedFile<SystemNames['hosts']>;
  readonly #resolver: WatchedFile<Pick<SystemNames, 'search' | 'dotCount'>>;

  constructor({ hosts, resolver }: SystemNameFiles = systemNameFiles) {
    this.#hosts = new WatchedFile(hosts, parseHosts);
    this.#resolver = new WatchedFile(resolver, parseResolver);
  }

  async read(): Promise<SystemNames> {
    const [hosts, resolver] = await Promise.all([this.#hosts.read(), this.#resolver.read()]);
    return { hosts, ...resolver };
  }
}

/** A text file that changes seldom, and what is parsed from it. */
class WatchedFile<T> {
  readonly #path: string;
  readonly #parse: (text: string) => T;
  #looking: Promise<T> | undefined;
  #parsed: T;
  #version = '';
  #lookedMs = Number.NEGATIVE_INFINITY;

  constructor(path: string, parse: (text: string) => T) {
    this.#path = path;
    this.#parse = parse;
    this.#parsed = parse('');
  }

  /** A file that cannot be read counts as empty. */
  async read(): Promise<T> {
    if (performance.now() - this.#lookedMs < FRESH_MS) return this.#parsed;
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    return await this.#looking;
  }

  async #look(): Promise<T> {
    const version = await versionOf(this.#path);
    if (version !== this.#version) {
      this.#parsed = this.#parse(version === '' ? '' : await readFile(this.#path, 'utf8').catch(() => ''));
      this.#version = version;
    }
    this.#lookedMs = performance.now();
    return this.#parsed;
  }
}

/** Changes with the file. Empty for what is no file, or too large a one. */
async function versionOf(path: string): Promise<string> {
  const file = await stat(path).catch(() => undefined);
  if (file === undefined || !file.isFile() || file.size > MAX_FILE_BYTES) return '';
  return `${file.ino} ${file.size} ${file.mtimeMs}`;
}

/** Each line has an address and its names. */
export function parseHosts(text: string): SystemNames['hosts'] {
  const hosts = new Map<string, string[]>();
  for (const [address = '', ...names] of fieldsByLine(text)) {
    if (isIP(address) === 0) continue;
    for (const name of names.map(plainHost)) {
      const addresses = hosts.get(name);
      if (addresses === undefined) hosts.set(name, [address]);
      else if (!addresses.includes(address)) addresses.push(address);
    }
  }
  return hosts;
}

/** The last `search` or `domain` counts, as in glibc. */
export function parseResolver(text: string): Pick<SystemNames, 'search' | 'dotCount'> {
  let search: readonly string[] = [];
  let dotCount = 1;
  for (const [keyword, ...values] of fieldsByLine(text)) {
    if (keyword === 'search' || keyword === 'domain') search = values.map(plainHost).filter((domain) => domain !== '');
    if (keyword !== 'options') continue;
    const [, dots] = /^ndots:(\d+)$/.exec(values.findLast((value) => value.startsWith('ndots:')) ?? '') ?? [];
    if (dots !== undefined) dotCount = Math.min(Number(dots), MAX_DOT_COUNT);
  }
  return { search: search.slice(0, MAX_SEARCH_DOMAINS), dotCount };
}

function fieldsByLine(text: string): readonly (readonly string[])[] {
  return text
    .split('\n')
    .map((line) =>
      line
        .replace(/[#;].*/, '')
        .trim()
        .split(/\s+/),
    )
    .filter(([first]) => first !== '');
}
