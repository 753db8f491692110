import type { LookupAddress } from 'node:dns';
import { Agent, type ClientRequest, type IncomingMessage, request } from 'node:http';
import { type RequestOptions, Agent as SecureAgent, request as secureRequest } from 'node:https';
import type { LookupFunction, Socket } from 'node:net';
import { HostFailure } from './host-failure.ts';
import { plainHost } from './host-names.ts';
import type { GetOptions, HttpAnswer } from './http-get.ts';

/** How long an idle connection is kept. Hosts may announce a shorter time. */
const KEEP_ALIVE_MS = 4_000;
const MAX_IDLE_PER_HOST = 16;
/** To open a connection, TLS included. */
const CONNECT_MS = 6_000;
/** Before the next address of a host is tried, if the last one is silent: longer than one lost packet takes. */
const NEXT_ADDRESS_MS = 1_250;
/** curl takes 300 KiB of headers, and Chrome 256. */
const MAX_HEADER_BYTES = 300 * 1024;

const connectionOptions = {
  keepAlive: true,
  timeout: KEEP_ALIVE_MS,
  maxFreeSockets: MAX_IDLE_PER_HOST,
  autoSelectFamily: true,
  autoSelectFamilyAttemptTimeout: NEXT_ADDRESS_MS,
};

/** An attempt to get an answer that failed. */
interface Failed {
  readonly cause: Error;
  /** Whether a connection that was kept from before had gone, so that a new one may do better. */
  readonly isStale: boolean;
}

/**
 * Sends GETs by node:http, which reads what browsers and curl read: lines that end with a line feed alone, a length
 * beside chunks, headers with control characters, an interim answer nobody asked for. The parser's strictness protects
 * proxies, whose clients share connections. Here an answer can only spoil those of its own host.
 */
export class KeptConnections {
  readonly #plain = new Agent(connectionOptions);
  readonly #secure = new SecureAgent(connectionOptions);

  /**
   * @param addresses of the URL's host: those that may be dialled.
   * @throws HostFailure; the signal's reason.
   */
  async get(url: URL, addresses: readonly LookupAddress[], options: GetOptions): Promise<HttpAnswer> {
    const agent = url.protocol === 'https:' ? this.#secure : this.#plain;
    const first = await send(url, addresses, options, agent);
    if (!isFailed(first)) return first;
    if (!first.isStale) throw first.cause;
    // The host closed the connection while the request was under way. Browsers and curl ask once more.
    const second = await send(url, addresses, options, false);
    if (isFailed(second)) throw second.cause;
    return second;
  }
}

function isFailed(outcome: HttpAnswer | Failed): outcome is Failed {
  return 'cause' in outcome;
}

/** @param agent `false` for a connection of its own. */
function send(
  url: URL,
  addresses: readonly LookupAddress[],
  { headers, signal }: GetOptions,
  agent: Agent | false,
): Promise<HttpAnswer | Failed> {
  return new Promise((resolve, reject) => {
    const isSecure = url.protocol === 'https:';
    const sent = (isSecure ? secureRequest : request)({
      ...connectionOptions,
      ...urlOptions(url),
      headers,
      agent,
      signal,
      lookup: lookupOf(addresses),
      insecureHTTPParser: true,
      maxHeaderSize: MAX_HEADER_BYTES,
    });
    const opening = watchOpening(sent, isSecure);
    sent.once('response', (response) => resolve(toAnswer(response)));
    const fail = (error: Error) => {
      if (signal.aborted) reject(signal.reason);
      else resolve({ cause: failureOf(error, opening()), isStale: sent.reusedSocket && isCut(error) });
    };
    sent.on('error', fail);
    // A host that changes the protocol gets its connection closed, and no other event tells of it.
    sent.once('upgrade', (_response, socket) => socket.destroy());
    sent.once('close', () => fail(new HostFailure('not-http'))); // Nothing, where there was an answer or an error before.
    sent.end();
  });
}

/** The name in TLS's greeting has no dot at its end, and is absent for an address: RFC 6066, 3. */
function urlOptions({ hostname, port, pathname, search, protocol }: URL): RequestOptions {
  const host = plainHost(hostname);
  const isAddress = hostname.startsWith('[') || /^[\d.]+$/.test(host);
  return {
    protocol,
    hostname: hostname.replace(/^\[|\]$/g, ''),
    ...(port === '' ? {} : { port }),
    path: `${pathname}${search}`,
    servername: isAddress ? '' : host,
  };
}

function lookupOf(addresses: readonly LookupAddress[]): LookupFunction {
  const [first] = addresses;
  return (_host, options, callback) => {
    if (options.all === true) callback(null, [...addresses]);
    else callback(null, first?.address ?? '', first?.family);
  };
}

/** How far a connection has come. */
type Opening = 'dialling' | 'shaking hands' | 'open';

/** Follows the opening of a request's connection, and ends it where it takes too long. */
function watchOpening(sent: ClientRequest, isSecure: boolean): () => Opening {
  let opening: Opening = 'dialling';
  const tooLong = setTimeout(() => sent.destroy(new HostFailure('unreachable')), CONNECT_MS);
  const isOpen = () => {
    opening = 'open';
    clearTimeout(tooLong);
  };
  sent.once('socket', (socket: Socket) => {
    if (sent.reusedSocket) {
      isOpen();
      return;
    }
    socket.once(isSecure ? 'secureConnect' : 'connect', isOpen);
    if (isSecure) {
      socket.once('connect', () => {
        opening = 'shaking hands';
      });
    }
  });
  sent.once('close', () => clearTimeout(tooLong));
  return () => opening;
}

function failureOf(cause: Error, opening: Opening): HostFailure {
  if (cause instanceof HostFailure) return cause;
  const problems = { dialling: 'unreachable', 'shaking hands': 'tls', open: 'not-http' } as const;
  return new HostFailure(problems[opening], { cause });
}

/** Whether the other side went away, rather than answered something else than HTTP. */
function isCut(error: Error): boolean {
  return 'code' in error && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
}

function toAnswer(response: IncomingMessage): HttpAnswer {
  return { status: response.statusCode ?? 0, headers: response.headers, body: response };
}
