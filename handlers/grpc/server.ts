import { isIPv6 } from 'node:net';
import { Server } from '@grpc/grpc-js';
import type InferlessModel from '../../app.ts';
import type { Settings } from '../../pipeline/settings.ts';
import { type Admission, createAdmission } from '../admission.ts';
import { serverCredentials } from './credentials.ts';
import { watchRequests } from './drain.ts';
import { createGuard } from './guard.ts';
import { addHealthService } from './health-service.ts';
import { addInferenceService, inferencePaths } from './inference-service.ts';
import type { Log } from './log.ts';
import { addReflectionService } from './reflection-service.ts';

export interface GrpcServer {
  readonly port: number;
  /**
   * Stops without losing a call: health says NOT_SERVING at once; calls are accepted until they stay away, or for
   * `limitMs`; then open streams end, and all calls that were accepted are answered.
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
  readonly admission?: Admission;
}

/**
 * Serves models over gRPC: the Open Inference Protocol, health and reflection.
 * @throws HandlerError `SETTINGS_INVALID` when certificates cannot be used; Error when the port cannot be listened on.
 */
export async function startGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  const { models, settings, host, log, admission = createAdmission(settings) } = options;
  const credentials = await serverCredentials(settings);
  const draining = watchRequests();
  const guard = createGuard(admission, inferencePaths, log);
  const server = new Server({
    'grpc.max_receive_message_length': settings.maxBodyBytes,
    interceptors: [guard.interceptor],
  });
  const context = { server, log, stopping: draining.stopping };
  addInferenceService(context, { models, guard, draining, maxStreamed: maxStreamed(settings) });
  addHealthService(context, models, draining);
  addReflectionService(context);
  const port = await listen(server, `${isIPv6(host) ? `[${host}]` : host}:${settings.grpcPort ?? 0}`, credentials);
  log.info({ host, port }, 'gRPC listening');
  return {
    port,
    async drain(limitMs) {
      await draining.drain(limitMs);
      await shutDown(server);
    },
    close: () => server.forceShutdown(),
  };
}

/** As many as fill a batch; no more than the token may have, so that no stream is refused because of itself. */
function maxStreamed({ maxBatchSize, maxRequestsPerToken }: Settings): number {
  return Math.min(maxBatchSize, maxRequestsPerToken ?? maxBatchSize);
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
