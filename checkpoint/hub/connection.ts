import type { IncomingHttpHeaders } from 'node:http';
import { type Dispatcher, EnvHttpProxyAgent, request } from 'undici';
import { errorCode } from '../files/json-file.ts';
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

/** Connections to the Hub and to the hosts it redirects to. */
export interface HubConnection {
  /**
   * One GET, its redirects included. The token goes to the Hub's own origin only.
   * @throws PassingFailure, CheckpointError for statuses that stay, and the signal's reason.
   */
  get(url: string, headers: Readonly<Record<string, string>>, inquiry: Inquiry): Promise<HubAnswer>;
  close(): Promise<void>;
}

const redirectStatuses = new Set([301, 302, 303, 307, 308]);
const MAX_REDIRECTS = 5;

/**
 * Opens the network for checkpoints; this is the only file that does. Proxies are those of the settings, and
 * `limits` say when a silent connection counts as cut.
 */
export function openHubConnection(
  { endpoint, proxies }: HubSettings,
  token: string | undefined,
  limits: HubLimits,
  signal: AbortSignal,
): HubConnection {
  const openAgent = (proxy: string) =>
    new EnvHttpProxyAgent({
      httpProxy: proxy,
      httpsProxy: proxy,
      noProxy: proxies.none,
      connect: { timeout: limits.connectTimeoutMs },
      headersTimeout: limits.stallTimeoutMs,
      bodyTimeout: limits.stallTimeoutMs,
    });
  // One each: a single agent would send https through the proxy for http, where https has none.
  const agents = { http: openAgent(proxies.http), https: openAgent(proxies.https) };
  const hubOrigin = new URL(endpoint).origin;
  const authorization = (url: URL) =>
    token === undefined || url.origin !== hubOrigin ? {} : { authorization: `Bearer ${token}` };

  return {
    async get(first, headers, inquiry) {
      let url = new URL(first);
      for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects += 1) {
        const response = await send(url, { ...headers, ...authorization(url) });
        const location = redirectStatuses.has(response.statusCode) ? header(response.headers, 'location') : undefined;
        if (location === undefined) return accept(response, inquiry, signal);
        discard(response.body);
        url = redirectTarget(location, url);
      }
      throw new PassingFailure(`more than ${MAX_REDIRECTS} redirects`);

      function send(target: URL, sent: Readonly<Record<string, string>>): Promise<Dispatcher.ResponseData> {
        return request(target, {
          dispatcher: target.protocol === 'https:' ? agents.https : agents.http,
          signal,
          headers: { 'user-agent': 'blip-handler', 'accept-encoding': 'identity', ...sent },
        }).catch((cause: unknown) => {
          throw networkFailure(cause, inquiry, signal);
        });
      }
    },
    async close() {
      await Promise.all([agents.http.destroy(), agents.https.destroy()]);
    },
  };
}

function accept(response: Dispatcher.ResponseData, inquiry: Inquiry, signal: AbortSignal): HubAnswer {
  const { statusCode: status, headers, body } = response;
  if (status < 200 || status > 299) {
    discard(body);
    throw statusFailure(status, (name) => header(headers, name), inquiry);
  }
  return { status, header: (name) => header(headers, name), body: readBody(body, inquiry, signal) };
}

async function* readBody(
  body: Dispatcher.ResponseData['body'],
  inquiry: Inquiry,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } catch (cause) {
    throw networkFailure(cause, inquiry, signal);
  } finally {
    discard(body);
  }
}

function redirectTarget(location: string, base: URL): URL {
  const target = URL.canParse(location, base.href) ? new URL(location, base) : undefined;
  if (target === undefined || !['http:', 'https:'].includes(target.protocol)) {
    throw new PassingFailure('a redirect to something that is no http or https URL');
  }
  return target;
}

function networkFailure(cause: unknown, inquiry: Inquiry, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  const code = errorCode(cause);
  if (/CERT|SELF_SIGNED|UNABLE_TO_(?:GET|VERIFY)|ERR_TLS/.test(code)) return untrustedCertificate(inquiry, cause);
  return new PassingFailure(networkWords[code] ?? `a connection that failed (${code})`, { cause });
}

const networkWords: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'a refused connection (ECONNREFUSED)',
  ECONNRESET: 'a cut connection (ECONNRESET)',
  UND_ERR_SOCKET: 'a cut connection',
  ENOTFOUND: 'no address for the host (ENOTFOUND)',
  EAI_AGAIN: 'no address for the host (EAI_AGAIN)',
  UND_ERR_CONNECT_TIMEOUT: 'no connection in time',
  UND_ERR_HEADERS_TIMEOUT: 'no answer in time',
  UND_ERR_BODY_TIMEOUT: 'a stalled connection',
  UND_ERR_ABORTED: 'a refusal by the proxy', // The signal's aborts are told apart before.
};

function header(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** Gives up the rest of a body. Without the listener, its abort would be an uncaught error. */
function discard(body: Dispatcher.ResponseData['body']): void {
  body.on('error', () => undefined).destroy();
}
