import { type Dispatcher, EnvHttpProxyAgent, request } from 'undici';
import type { HttpGet } from './http-get.ts';

/** URLs of proxies, empty for none, and the hosts that are reached without one, as NO_PROXY lists them. */
export interface Proxies {
  readonly http: string;
  readonly https: string;
  readonly none: string;
}

export interface ConnectionTimeouts {
  /** To open a connection. */
  readonly connectTimeoutMs: number;
  /** Without any byte: a connection that is silent for so long counts as cut. */
  readonly stallTimeoutMs: number;
}

/** Connections through the proxies of an environment, to any address. */
export class ProxyConnections {
  readonly #httpAgent: EnvHttpProxyAgent;
  readonly #httpsAgent: EnvHttpProxyAgent;
  readonly #getHttp: HttpGet;
  readonly #getHttps: HttpGet;

  constructor(proxies: Proxies, timeouts: ConnectionTimeouts) {
    // One agent for each: a single agent would send https through the proxy for http, where https has none.
    this.#httpAgent = openAgent(proxies.http, proxies.none, timeouts);
    this.#httpsAgent = openAgent(proxies.https, proxies.none, timeouts);
    this.#getHttp = getThrough(this.#httpAgent);
    this.#getHttps = getThrough(this.#httpsAgent);
  }

  readonly get: HttpGet = (url, options) =>
    url.protocol === 'https:' ? this.#getHttps(url, options) : this.#getHttp(url, options);

  /** Cuts whatever is under way. */
  async close(): Promise<void> {
    await Promise.all([this.#httpAgent.destroy(), this.#httpsAgent.destroy()]);
  }
}

/** Sends through the connections of one dispatcher. */
export function getThrough(dispatcher: Dispatcher): HttpGet {
  return async (url, { headers, signal }) => {
    const { statusCode, headers: received, body } = await request(url, { dispatcher, headers, signal });
    return { status: statusCode, headers: received, body };
  };
}

function openAgent(
  proxy: string,
  noProxy: string,
  { connectTimeoutMs, stallTimeoutMs }: ConnectionTimeouts,
): EnvHttpProxyAgent {
  return new EnvHttpProxyAgent({
    httpProxy: proxy,
    httpsProxy: proxy,
    noProxy,
    connect: { timeout: connectTimeoutMs },
    headersTimeout: stallTimeoutMs,
    bodyTimeout: stallTimeoutMs,
  });
}
