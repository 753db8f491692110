import http, { type RequestListener, type Server } from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import type { ConnectionError } from 'fastify';
import { addressesOf } from '../service/addresses.ts';
import type { ConnectionTable } from '../service/connection-table.ts';
import type { TlsFiles } from '../service/tls-files.ts';
import { inTurns } from './pipelining.ts';

/** The time for the whole request to arrive, and for its headers. Otherwise one that trickles in stays open for ever. */
const REQUEST_TIMEOUT_MS = 60_000;
const HEADERS_TIMEOUT_MS = 15_000;
const CONNECTION_CHECK_INTERVAL_MS = 5_000;
/** Clients and proxies keep connections for later requests for so long; most ask within a minute. */
const KEEP_ALIVE_TIMEOUT_MS = 72_000;

const timeouts = {
  requestTimeout: REQUEST_TIMEOUT_MS,
  headersTimeout: HEADERS_TIMEOUT_MS,
  connectionsCheckingInterval: CONNECTION_CHECK_INTERVAL_MS,
  keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
};

export interface ListenerOptions {
  readonly connections: ConnectionTable;
  /** `undefined` for plain HTTP. */
  readonly tls: TlsFiles | undefined;
  /** Answers a request that Node's parser refused. */
  readonly refuse: (error: ConnectionError, socket: Socket) => void;
}

/** The servers of Node that hand requests to one Fastify: one for each address that the host to listen on has. */
export class HttpListener {
  readonly #options: ListenerOptions;
  readonly #others: Server[] = [];
  #first: Server | undefined;
  #answer: RequestListener | undefined;

  constructor(options: ListenerOptions) {
    this.#options = options;
  }

  /** The first server. It does not listen yet. */
  create(answer: RequestListener): Server {
    this.#answer = inTurns(answer, this.#options.connections);
    this.#first = createServer(this.#answer, this.#options);
    return this.#first;
  }

  /** Listens on the other addresses of the host too, where the port of the first server is free there, until `close`. */
  async listenOnOthers(host: string): Promise<void> {
    const bound = this.#first?.address();
    if (typeof bound !== 'object' || bound === null) return;
    const { address: first, port } = bound;
    for (const address of (await addressesOf(host)).filter((other) => other !== first)) {
      const server = createServer(this.#answer ?? (() => undefined), this.#options);
      server.on('clientError', this.#options.refuse);
      await new Promise<void>((resolve) => {
        server.once('error', () => resolve());
        server.listen({ host: address, port }, () => {
          this.#others.push(server);
          resolve();
        });
      });
    }
  }

  /** Stops listening on the other addresses. Requests that have arrived there are answered. */
  async close(): Promise<void> {
    await Promise.all(this.#others.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))));
  }
}

function createServer(answer: RequestListener, { connections, tls }: ListenerOptions): Server {
  const server = tls === undefined ? http.createServer(timeouts, answer) : createTlsServer(answer, tls);
  server.on('connection', (socket: Socket) => connections.add(socket));
  return server;
}

function createTlsServer(answer: RequestListener, { cert, key, clientCa }: TlsFiles): Server {
  const clients = clientCa === undefined ? {} : { ca: clientCa, requestCert: true, rejectUnauthorized: true };
  return https.createServer({ ...timeouts, cert, key, ...clients, handshakeTimeout: HEADERS_TIMEOUT_MS }, answer);
}
