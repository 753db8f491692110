import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { discardBody } from '../../network/discard-body.ts';
import { type HttpAnswer, headerValue } from '../../network/http-get.ts';
import { type Proxies, ProxyConnections } from '../../network/proxy-connections.ts';
import { followRedirects } from '../../network/redirects.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { installFailure } from './install-failure.ts';

/** A checksum that a registry gives for a file. */
export interface PackageChecksum {
  readonly algorithm: 'sha256' | 'sha512';
  readonly hex: string;
}

/** A file of a registry; without a checksum where the registry gives none. */
export interface PackageFile {
  readonly name: string;
  readonly url: URL;
  readonly checksum?: PackageChecksum | undefined;
}

/** Takes the bytes that have come of a file, and of how many; of 0, where the server does not say. */
export type DownloadListener = (receivedBytes: number, totalBytes: number) => void;

const MAX_REDIRECTS = 5;
const MAX_PAGE_BYTES = 20_000_000;
const ATTEMPTS = 4;
const RETRY_DELAY_MS = 1_000;
const timeouts = { connectTimeoutMs: 10_000, stallTimeoutMs: 30_000 };

/** A connection that was cut, or a server that asks to come again. */
class PassingProblem extends Error {}

/** Fetches pages and files of a registry of packages. */
export class PackageConnection {
  readonly #connections: ProxyConnections;
  readonly #signal: AbortSignal;
  readonly #retryDelayMs: number;

  constructor(proxies: Proxies, signal: AbortSignal, retryDelayMs = RETRY_DELAY_MS) {
    this.#connections = new ProxyConnections(proxies, timeouts);
    this.#signal = signal;
    this.#retryDelayMs = retryDelayMs;
  }

  /**
   * Reads a page as text, with its type.
   * @throws HandlerError `PROVIDER_INSTALL_FAILED`; the signal's reason.
   */
  page(url: URL, accept: string): Promise<{ readonly text: string; readonly contentType: string }> {
    return this.#retried(url, async () => {
      const { headers, body } = await this.#get(url, accept);
      const chunks: Uint8Array[] = [];
      let lengthBytes = 0;
      for await (const chunk of body as AsyncIterable<Uint8Array>) {
        chunks.push(chunk);
        lengthBytes += chunk.length;
        if (lengthBytes > MAX_PAGE_BYTES)
          throw installFailure(`${url.host}: expected a page, got ${lengthBytes} bytes.`);
      }
      return { text: Buffer.concat(chunks).toString('utf8'), contentType: headerValue(headers, 'content-type') ?? '' };
    });
  }

  /** @throws HandlerError `PROVIDER_INSTALL_FAILED`, also when the answer is not JSON; the signal's reason. */
  async json(url: URL, accept = 'application/json'): Promise<unknown> {
    const { text } = await this.page(url, accept);
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw installFailure(`${url.host}: expected JSON at ${url.pathname}, got something else.`, { cause });
    }
  }

  /**
   * Writes a file to `path`, and checks its checksum.
   * @throws HandlerError `PROVIDER_INSTALL_FAILED`; the signal's reason.
   */
  async download({ name, url, checksum }: PackageFile, path: string, onBytes: DownloadListener): Promise<void> {
    const digest = await this.#retried(url, async () => {
      const { headers, body } = await this.#get(url, 'application/octet-stream, */*;q=0.1');
      const hash = createHash(checksum?.algorithm ?? 'sha256');
      const totalBytes = Number(headerValue(headers, 'content-length') ?? 0);
      let receivedBytes = 0;
      body.on('data', (chunk: Uint8Array) => {
        hash.update(chunk);
        receivedBytes += chunk.length;
        onBytes(receivedBytes, totalBytes);
      });
      await pipeline(body, createWriteStream(path), { signal: this.#signal });
      return hash.digest('hex');
    });
    if (checksum === undefined || digest === checksum.hex.toLowerCase()) return;
    throw installFailure(
      `${name}: expected ${checksum.algorithm} ${checksum.hex}, got ${digest}. Something changes files on their way.`,
    );
  }

  close(): Promise<void> {
    return this.#connections.close();
  }

  async #get(url: URL, accept: string): Promise<HttpAnswer & { readonly body: Readable }> {
    const headers = { 'user-agent': 'blip-handler', accept, 'accept-encoding': 'identity' };
    const answer = await followRedirects(url, {
      maxRedirects: MAX_REDIRECTS,
      check: requireHttp,
      send: (target) => {
        // A password of the index's URL goes to that origin alone.
        const sent = target.origin === url.origin ? { ...headers, ...authorization(url) } : headers;
        return this.#connections.get(withoutPassword(target), { headers: sent, signal: this.#signal });
      },
      failure: () => installFailure(`${url.host}: expected a file, got redirects without an end.`),
    });
    if (answer.status === 200) return answer;
    discardBody(answer.body);
    if (answer.status === 429 || answer.status >= 500) throw new PassingProblem(`status ${answer.status}`);
    throw installFailure(`${url.host}: expected ${url.pathname}, got status ${answer.status}.`);
  }

  async #retried<T>(url: URL, action: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await action();
      } catch (cause) {
        this.#signal.throwIfAborted();
        if (!(cause instanceof PassingProblem) && !isOfNetwork(cause)) throw cause;
        if (attempt === ATTEMPTS) {
          const problem = cause instanceof Error ? cause.message : String(cause);
          throw installFailure(`${url.host}: expected an answer, got ${problem}, ${attempt} times.`, { cause });
        }
        await wait(attempt * this.#retryDelayMs, undefined, { signal: this.#signal }).catch(() => undefined);
      }
    }
  }
}

/** Errors of undici, of sockets and of names. Errors of files have a path. */
function isOfNetwork(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && !('path' in cause) && !(cause instanceof HandlerError);
}

function requireHttp({ protocol }: URL): void {
  if (protocol !== 'http:' && protocol !== 'https:')
    throw installFailure('Expected the index of packages to have an http or https URL, got another.');
}

function withoutPassword(url: URL): URL {
  const plain = new URL(url);
  plain.username = '';
  plain.password = '';
  return plain;
}

function authorization({ username, password }: URL): { readonly authorization?: string } {
  if (username === '' && password === '') return {};
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` };
}
