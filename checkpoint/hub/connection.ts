import type { Readable } from 'node:stream';
import { discardBody } from '../../network/discard-body.ts';
import { type HttpAnswer, headerValue } from '../../network/http-get.ts';
import { ProxyConnections } from '../../network/proxy-connections.ts';
import { followRedirects } from '../../network/redirects.ts';
import { errorCode } from '../files/file-errors.ts';
import type { HubLimits } from './attempts.ts';
import { type Inquiry, PassingFailure, statusFailure, untrustedCertificate } from './failures.ts';
import type { HubSettings } from './hub-settings.ts';

/** A successful answer. */
export interface HubAnswer {
  readonly status: number;
  header(name: string): string | undefined;
  /** Reading it throws `PassingFailure` when the connection is cut or silent for too long. */
  readonly body: AsyncIterable<Uint8Array>;
}

type RequestHeaders = Readonly<Record<string, string>>;

const MAX_REDIRECTS = 5;
const commonHeaders: RequestHeaders = { 'user-agent': 'blip-handler', 'accept-encoding': 'identity' };

/** Connections to the Hub and to the hosts that it redirects to, through the proxies of the settings. */
export class HubConnection {
  readonly #connections: ProxyConnections;
  readonly #hubOrigin: string;
  readonly #token: string | undefined;
  readonly #signal: AbortSignal;

  /** @param limits say when a silent connection counts as cut. */
  constructor(
    { endpoint, proxies }: HubSettings,
    token: string | undefined,
    limits: Pick<HubLimits, 'connectTimeoutMs' | 'stallTimeoutMs'>,
    signal: AbortSignal,
  ) {
    this.#connections = new ProxyConnections(proxies, limits);
    this.#hubOrigin = new URL(endpoint).origin;
    this.#token = token;
    this.#signal = signal;
  }

  /**
   * Sends one GET and follows its redirects. The token goes only to the Hub's own origin.
   * @throws PassingFailure; CheckpointError for statuses that will not change; the signal's reason.
   */
  async get(url: string, headers: RequestHeaders, inquiry: Inquiry): Promise<HubAnswer> {
    const answer = await followRedirects(new URL(url), {
      maxRedirects: MAX_REDIRECTS,
      check: requireHttp,
      send: (target) => this.#send(target, headers, inquiry),
      failure: (problem) =>
        problem === 'too-many' ? new PassingFailure(`more than ${MAX_REDIRECTS} redirects`) : notHttp(),
    });
    return accept(answer, inquiry, this.#signal);
  }

  close(): Promise<void> {
    return this.#connections.close();
  }

  async #send(url: URL, headers: RequestHeaders, inquiry: Inquiry): Promise<HttpAnswer> {
    const sent = { ...commonHeaders, ...headers, ...this.#authorization(url) };
    try {
      return await this.#connections.get(url, { headers: sent, signal: this.#signal });
    } catch (cause) {
      throw networkFailure(cause, inquiry, this.#signal);
    }
  }

  #authorization(url: URL): RequestHeaders {
    if (this.#token === undefined || url.origin !== this.#hubOrigin) return {};
    return { authorization: `Bearer ${this.#token}` };
  }
}

function requireHttp(url: URL): void {
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw notHttp();
}

function notHttp(): PassingFailure {
  return new PassingFailure('a redirect to something that is no http or https URL');
}

function accept({ status, headers, body }: HttpAnswer, inquiry: Inquiry, signal: AbortSignal): HubAnswer {
  const header = (name: string) => headerValue(headers, name);
  if (status < 200 || status > 299) {
    discardBody(body);
    throw statusFailure(status, header, inquiry);
  }
  return { status, header, body: readBody(body, inquiry, signal) };
}

async function* readBody(body: Readable, inquiry: Inquiry, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } catch (cause) {
    throw networkFailure(cause, inquiry, signal);
  } finally {
    discardBody(body);
  }
}

/** The failure that an error of undici means. */
function networkFailure(cause: unknown, inquiry: Inquiry, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  const code = errorCode(cause);
  if (/CERT|SELF_SIGNED|UNABLE_TO_(?:GET|VERIFY)|ERR_TLS/.test(code)) return untrustedCertificate(inquiry, cause);
  return new PassingFailure(failureWords[code] ?? `a connection that failed (${code})`, { cause });
}

const failureWords: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'a refused connection (ECONNREFUSED)',
  ECONNRESET: 'a cut connection (ECONNRESET)',
  UND_ERR_SOCKET: 'a cut connection',
  ENOTFOUND: 'no address for the host (ENOTFOUND)',
  EAI_AGAIN: 'no address for the host (EAI_AGAIN)',
  UND_ERR_CONNECT_TIMEOUT: 'no connection in time',
  UND_ERR_HEADERS_TIMEOUT: 'no answer in time',
  UND_ERR_BODY_TIMEOUT: 'a stalled connection',
  UND_ERR_ABORTED: 'a refusal by the proxy', // Aborts by the signal were handled before.
};
