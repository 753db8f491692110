#!/usr/bin/env node
import InferlessModel, { settingsFromEnvironment } from '../../app.ts';
import { type Settings, settingsOfModels } from '../../pipeline/settings.ts';
import { HandlerError } from '../../protocol/errors.ts';
import type { GrpcServer, GrpcServerOptions } from '../grpc/server.ts';
import { createServer } from '../http/server.ts';
import { createAdmission } from '../service/admission.ts';
import { failureLine } from '../service/failure.ts';
import type { Metrics } from '../service/metrics.ts';

/** `npm start`: serves one model or several over HTTP, and gRPC where that is wanted, until it is told to stop. */

const LOOPBACK = '127.0.0.1';
const loopbackHosts = [LOOPBACK, 'localhost', '::1'];

/**
 * The address to listen on: everyone's only where tokens keep strangers out, or Vertex AI does.
 * @throws HandlerError `SETTINGS_INVALID` when other machines could ask without a token, or Vertex AI could not.
 */
function listenAddress({ host, apiTokens, vertexPort, vertexAuthorizer }: Settings): string {
  const isPlatformOnly = vertexPort !== undefined && vertexAuthorizer === 'platform';
  if (isPlatformOnly && apiTokens.length > 0)
    throw new HandlerError(
      'SETTINGS_INVALID',
      'Expected BLIP_API_TOKENS, or BLIP_VERTEX_AUTHORIZER to be platform, got both: its requests bring no tokens.',
    );
  if (isPlatformOnly || apiTokens.length > 0) return host ?? '0.0.0.0';
  if (host === undefined || loopbackHosts.includes(host)) return host ?? LOOPBACK;
  throw new HandlerError(
    'SETTINGS_INVALID',
    `Expected BLIP_API_TOKENS to be set when HOST is not loopback, got none for HOST ${host}.`,
  );
}

/** The same for gRPC, where nobody but tokens keeps strangers out. */
function grpcAddress(settings: Settings): string {
  return listenAddress({ ...settings, vertexPort: undefined });
}

async function serve(settings: Settings): Promise<void> {
  const host = listenAddress(settings);
  const models = settingsOfModels(settings).map((own) => new InferlessModel(own));
  const admission = createAdmission(settings);
  const metrics = collectMetrics(models);
  const server = createServer(models, settings, admission, metrics);
  let grpc: Promise<GrpcServer> | undefined;
  const finalize = () => Promise.all(models.map((model) => model.finalize()));
  const starting = new AbortController();
  let stopping = false;
  const stop = async (signal: string): Promise<void> => {
    if (stopping) return;
    stopping = true;
    starting.abort(new Error(`Ended by ${signal} before the models were loaded.`));
    server.log.info({ signal }, 'draining');
    const { drainLimitMs } = settings;
    await Promise.all([server.draining.drain(drainLimitMs), started(grpc).then((door) => door?.drain(drainLimitMs))]);
    await finalize();
    server.log.info('stopped');
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void stop(signal));

  await server.listen({ host, port: settings.vertexPort ?? settings.port });
  try {
    const onNotice = (line: string) => server.log.info(line);
    if (settings.grpcPort !== undefined)
      grpc = startGrpc({ models, settings, host: grpcAddress(settings), log: server.log, admission, metrics });
    await Promise.all([grpc, ...models.map((model) => model.initialize({ onNotice, signal: starting.signal }))]);
  } catch (error) {
    await finalize();
    (await started(grpc))?.close();
    await server.draining.drain(0);
    if (stopping) return; // It was told to: an ended download is no failure.
    throw error;
  }
  if (!stopping) for (const model of models) logReady(server.log, model);
}

/** Loaded beside the models, which take longer. */
async function collectMetrics(models: readonly InferlessModel[]): Promise<Metrics> {
  const { createMetrics } = await import('../service/metrics.ts');
  return createMetrics(models);
}

/** Loads the door when it is wanted: without it, a process starts faster. */
async function startGrpc(options: GrpcServerOptions): Promise<GrpcServer> {
  const { startGrpcServer } = await import('../grpc/server.ts');
  return await startGrpcServer(options);
}

/** The door once it is open; `undefined` where there is none, also because it failed, which others report. */
async function started(grpc: Promise<GrpcServer> | undefined): Promise<GrpcServer | undefined> {
  return await grpc?.catch(() => undefined);
}

function logReady(log: ReturnType<typeof createServer>['log'], { model, name, settings }: InferlessModel): void {
  if (model === undefined) return;
  for (const warning of model.checkpoint.config.warnings) log.warn(warning);
  log.info(
    {
      model: name,
      checkpoint: model.checkpoint.folder,
      architecture: model.checkpoint.architecture,
      ...model.executionProvider,
      workers: settings.workerCount,
      threadsPerWorker: settings.threadsPerWorker,
      loadMs: Math.round(model.loadMs),
      modelLoadMs: Math.round(model.modelLoadMs),
      sinceStartMs: Math.round(performance.now()),
    },
    'ready',
  );
}

try {
  await serve(settingsFromEnvironment());
} catch (error) {
  process.stderr.write(failureLine(error));
  process.exitCode = 1;
}
