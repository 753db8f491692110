import { setMaxListeners } from 'node:events';
import { Server } from '@grpc/grpc-js';
import type Handler from '../../app.ts';
import { largestBatchSize } from '../../pipeline/batch-size.ts';
import type { Admission } from '../service/admission.ts';
import { ConnectionTable, connectionLimit } from '../service/connection-table.ts';
import { Drain } from '../service/drain.ts';
import type { Log } from '../service/log.ts';
import type { Metrics } from '../service/metrics.ts';
import type { ServerSettings } from '../service/server-settings.ts';
import { loadTracing } from '../service/tracing.ts';
import { Acceptor } from './acceptor.ts';
import { serverCredentials } from './credentials.ts';
import { CallGuard } from './guard.ts';
import { addHealthService } from './health-service.ts';
import { addInferenceService, inferencePaths } from './inference-service.ts';
import { addJinaServices, jinaPaths } from './prompts/jina-service.ts';
import { addVisualQuestionAnswering, promptPaths } from './prompts/visual-question-answering.ts';
import { addReflectionService } from './reflection-service.ts';

/** The most bytes of a message to an open method. Health, metadata and reflection need few. */
const MAX_OPEN_MESSAGE_BYTES = 65_536;

/** Paths of the methods that ask a model. */
const guardedPaths = new Set([...inferencePaths, ...promptPaths, ...jinaPaths]);

/** Limits of one connection. A client whose connection is closed opens another when it needs one. */
const connectionOptions = {
  'grpc.max_concurrent_streams': 128,
  'grpc.keepalive_time_ms': 60_000,
  'grpc.keepalive_timeout_ms': 20_000,
  'grpc.max_connection_idle_ms': 300_000,
};

/** Time for a client to read its answers, once all are sent, before its connection is closed. */
const LINGER_MS = 5_000;

export interface GrpcServer {
  readonly port: number;
  /**
   * Stops without losing a call. Health says NOT_SERVING at once. Calls are accepted until they stay away, or for
   * `limitMs`; then open streams end, and all accepted calls are answered. After that, clients that leave their calls
   * open or do not read their answers have 5 s.
   */
  readonly drain: (limitMs: number) => Promise<void>;
  /** Ends everything at once. */
  readonly close: () => void;
}

export interface GrpcServerOptions {
  readonly models: readonly Handler[];
  readonly settings: ServerSettings;
  readonly host: string;
  readonly log: Log;
  /** The one admission of the process. */
  readonly admission: Admission;
  /** Counts answers. */
  readonly metrics?: Promise<Metrics> | undefined;
}

/**
 * Serves models over gRPC: the Open Inference Protocol, health and reflection.
 * @throws HandlerError `SETTINGS_INVALID` for certificates that cannot be used; Error when the port is not free.
 */
export async function startGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  const { settings, host, log } = options;
  const [credentials] = await Promise.all([serverCredentials(settings), loadTracing(log)]);
  const drain = new Drain();
  const stopping = new AbortController();
  setMaxListeners(0, stopping.signal); // Every open stream listens.
  const connections = new ConnectionTable(connectionLimit(settings.maxConnections, 2), log);
  const server = createServer(options, drain, stopping.signal, connections);
  const acceptor = new Acceptor(server.createConnectionInjector(credentials), connections);
  const port = await acceptor.listen(host, settings.grpcPort ?? 0);
  log.info({ host, port }, 'gRPC listening');
  return {
    port,
    async drain(limitMs) {
      await drain.untilQuiet(limitMs);
      acceptor.close();
      stopping.abort();
      // From Node 24 on, grpc-js takes connections for closed while their calls still run.
      const closed = Promise.all([shutDown(server), connections.closed()]);
      await Promise.race([closed, drain.quietFor(LINGER_MS)]);
      server.forceShutdown();
    },
    close() {
      acceptor.close();
      server.forceShutdown();
    },
  };
}

/** A server with all its services, which does not listen yet. */
function createServer(
  { models, settings, log, admission, metrics }: GrpcServerOptions,
  drain: Drain,
  stopping: AbortSignal,
  connections: ConnectionTable,
): Server {
  const { maxBodyBytes, requestTimeoutMs } = settings;
  const maxOpenBytes = Math.min(MAX_OPEN_MESSAGE_BYTES, maxBodyBytes);
  const guard = new CallGuard({ admission, guardedPaths, maxOpenBytes, log, connections, metrics });
  const server = new Server({
    ...connectionOptions,
    'grpc.max_receive_message_length': maxBodyBytes,
    interceptors: [guard.interceptor],
  });
  const context = { server, recordOf: guard.recordOf.bind(guard), maxBytes: maxOpenBytes, stopping };
  const services = {
    models,
    guard,
    drain,
    maxRequestBytes: maxBodyBytes,
    maxStreamed: maxStreamed(models, settings),
    timeLimitMs: requestTimeoutMs,
  };
  addInferenceService(context, services);
  addVisualQuestionAnswering(context, services);
  addJinaServices(context, services);
  addHealthService(context, models, drain);
  addReflectionService(context);
  return server;
}

/** As many as fill a batch, but no more than the queue and the token allow, so that a stream is never refused by its own. */
function maxStreamed(models: readonly Handler[], { maxRequestsPerToken }: ServerSettings): number {
  const limits = models.map(({ settings }) => Math.min(largestBatchSize(settings.maxBatchSize), settings.maxQueueSize));
  return Math.min(...limits, maxRequestsPerToken ?? Number.POSITIVE_INFINITY);
}

function shutDown(server: Server): Promise<void> {
  return new Promise((resolve, reject) => {
    server.tryShutdown((error) => (error === undefined ? resolve() : reject(error)));
  });
}
