import { isIPv6 } from 'node:net';
import { Server } from '@grpc/grpc-js';
import type InferlessModel from '../../app.ts';
import type { Settings } from '../../pipeline/settings.ts';
import type { Admission } from '../service/admission.ts';
import type { Metrics } from '../service/metrics.ts';
import { loadTracing } from '../service/tracing.ts';
import { serverCredentials } from './credentials.ts';
import { watchRequests } from './drain.ts';
import { createGuard } from './guard.ts';
import { addHealthService } from './health-service.ts';
import { addInferenceService, inferencePaths } from './inference-service.ts';
import type { Log } from './log.ts';
import { addReflectionService } from './reflection-service.ts';

/** The most bytes of a message to a method that is open: health, metadata and reflection need a few. */
const MAX_OPEN_MESSAGE_BYTES = 65_536;

/** What one connection may do, and when it is closed: a client asks for another when it needs one. */
const connectionOptions = {
  'grpc.max_concurrent_streams': 128,
  'grpc.keepalive_time_ms': 60_000,
  'grpc.keepalive_timeout_ms': 20_000,
  'grpc.max_connection_idle_ms': 300_000,
};

/** A client may read as long, once all is answered, before its connection is closed. */
const LINGER_MS = 5_000;

export interface GrpcServer {
  readonly port: number;
  /**
   * Stops without losing a call: health says NOT_SERVING at once; calls are accepted until they stay away, or for
   * `limitMs`; then open streams end, and all calls that were accepted are answered. Clients that leave their calls
   * open, or do not read the answers, are waited for 5 s after that.
   */
  readonly drain: (limitMs: number) => Promise<void>;
  /** Ends everything at once. */
  readonly close: () => void;
}

export interface GrpcServerOptions {
  readonly models: readonly InferlessModel[];
  readonly settings: Settings;
  readonly host: string;
  readonly log: Log;
  /** That of the other doors of the process. */
  readonly admission: Admission;
  /** Where answers are counted. */
  readonly metrics?: Promise<Metrics> | undefined;
}

/**
 * Serves models over gRPC: the Open Inference Protocol, health and reflection.
 * @throws HandlerError `SETTINGS_INVALID` when certificates cannot be used; Error when the port cannot be listened on.
 */
export async function startGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  const { models, settings, host, log, admission, metrics } = options;
  const [credentials] = await Promise.all([serverCredentials(settings), loadTracing(log)]);
  const draining = watchRequests();
  const maxOpenBytes = Math.min(MAX_OPEN_MESSAGE_BYTES, settings.maxBodyBytes);
  const guard = createGuard({ admission, guardedPaths: inferencePaths, maxOpenBytes, log, metrics });
  const server = new Server({
    ...connectionOptions,
    'grpc.max_receive_message_length': settings.maxBodyBytes,
    interceptors: [guard.interceptor],
  });
  const context = { server, logOf: guard.logOf, maxMessageBytes: maxOpenBytes, stopping: draining.stopping };
  const limits = { maxRequestBytes: settings.maxBodyBytes, maxStreamed: maxStreamed(settings) };
  addInferenceService(context, { models, guard, draining, ...limits });
  addHealthService(context, models, draining);
  addReflectionService(context);
  const port = await listen(server, `${isIPv6(host) ? `[${host}]` : host}:${settings.grpcPort ?? 0}`, credentials);
  log.info({ host, port }, 'gRPC listening');
  return {
    port,
    async drain(limitMs) {
      await draining.drain(limitMs);
      await Promise.race([shutDown(server), draining.quiet(LINGER_MS)]);
      server.forceShutdown();
    },
    close: () => server.forceShutdown(),
  };
}

/** As many as fill a batch; no more than the queue takes and the token may have: no stream is refused for itself. */
function maxStreamed({ maxBatchSize, maxQueueSize, maxRequestsPerToken }: Settings): number {
  return Math.min(maxBatchSize, maxQueueSize, maxRequestsPerToken ?? maxBatchSize);
}

function listen(server: Server, address: string, credentials: Parameters<Server['bindAsync']>[1]): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => (error === null ? resolve(port) : reject(error)));
  });
}

function shutDown(server: Server): Promise<void> {
  return new Promise((resolve, reject) => {
    server.tryShutdown((error) => (error === undefined ? resolve() : reject(error)));
  });
}
