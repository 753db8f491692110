import type Handler from '../../app.ts';
import { settingsFromEnvironment } from '../../app.ts';
import type { Settings } from '../../pipeline/settings.ts';
import { HandlerError } from '../../protocol/errors.ts';
import type { GrpcServer, GrpcServerOptions } from '../grpc/server.ts';
import { createServer, type HttpServer } from '../http/server.ts';
import { type Admission, createAdmission } from '../service/admission.ts';
import { failureLine } from '../service/failure.ts';
import { listenFailure } from '../service/listen-failure.ts';
import type { Metrics } from '../service/metrics.ts';
import { createModels, finalizeModels, loadModels, logReady } from '../service/model-loading.ts';
import { isPlatformOnly, needsNoToken, readServerSettings, type ServerSettings } from '../service/server-settings.ts';
import { readTlsFiles, type TlsFiles } from '../service/tls-files.ts';
import { warnUnknownSettings } from '../service/unknown-settings.ts';
import { readArguments } from './command.ts';
import { endBy, type StopSignal, stopOnSignals } from './signals.ts';

/** Serves one model or several over HTTP, and over gRPC if the settings ask for it, until a signal. */

const usage = `Usage: npm start

Serves models over HTTP, and over gRPC with BLIP_GRPC_PORT. It takes no options: environment variables set it up.

  BLIP_CHECKPOINT  checkpoint folder, or OWNER/NAME[@REVISION] of the Hub (else the one that ships)
  BLIP_API_TOKENS  tokens that may ask, separated by commas (else only this machine may)
  PORT, HOST       where to listen (else 8080, at 127.0.0.1 without tokens and at 0.0.0.0 with tokens)
  --help           this text

docs/reference/settings.md lists all variables.
`;

/** The time for threads to end that have nothing more to do. */
const LINGER_MS = 2_000;

const LOOPBACK = '127.0.0.1';
const loopbackHosts = [LOOPBACK, 'localhost', '::1'];

/**
 * The address to listen on. It is open to other machines only where tokens or Vertex AI keep strangers out.
 * @throws HandlerError `SETTINGS_INVALID` when other machines could ask without a token, or Vertex AI could not ask.
 */
function listenAddress(settings: ServerSettings): string {
  const { host, apiTokens } = settings;
  if (isPlatformOnly(settings) && apiTokens.length > 0)
    throw new HandlerError(
      'SETTINGS_INVALID',
      'Expected BLIP_API_TOKENS or BLIP_VERTEX_AUTHORIZER=platform, got both. The platform sends no tokens: unset one.',
    );
  if (!needsNoToken(settings)) return host ?? '0.0.0.0';
  if (host === undefined || loopbackHosts.includes(host)) return host ?? LOOPBACK;
  throw new HandlerError(
    'SETTINGS_INVALID',
    `Expected BLIP_API_TOKENS to be set when HOST is not loopback, got none for HOST ${host}.`,
  );
}

/** The address to listen on for gRPC. Vertex AI does not guard it. */
function grpcAddress(settings: ServerSettings): string {
  return listenAddress({ ...settings, vertexPort: undefined });
}

/** One process that serves models, from its start to its end. */
class Service {
  readonly #settings: ServerSettings;
  readonly #models: readonly Handler[];
  readonly #admission: Admission;
  readonly #metrics: Promise<Metrics>;
  readonly #http: HttpServer;
  readonly #starting = new AbortController();
  #grpc: Promise<GrpcServer> | undefined;
  #isStopping = false;

  constructor(modelSettings: Settings, settings: ServerSettings, tls: TlsFiles | undefined) {
    this.#settings = settings;
    this.#models = createModels(modelSettings, settings.models);
    this.#admission = createAdmission(settings);
    this.#metrics = collectMetrics(this.#models);
    this.#http = createServer(this.#models, settings, this.#admission, this.#metrics, tls);
  }

  /** @throws HandlerError `SETTINGS_INVALID` when a port is not free; errors of the models when they are loaded. */
  async start(host: string): Promise<void> {
    warnUnknownSettings(process.env, this.#http.log);
    await this.#listen(host);
    try {
      this.#grpc = this.#startGrpc();
      await Promise.all([this.#grpc, loadModels(this.#models, this.#http.log, this.#starting.signal)]);
    } catch (error) {
      await finalizeModels(this.#models);
      (await this.#startedGrpc())?.close();
      await this.#http.draining.drain(0);
      if (this.#isStopping) return; // A download that the signal ended is no failure.
      throw error;
    }
    if (!this.#isStopping) logReady(this.#models, this.#http.log);
  }

  /**
   * Stops without losing a request, within `stopLimitMs`. A thread that hangs does not keep the process. Calls after the
   * first do nothing.
   */
  async stop(signal: StopSignal): Promise<void> {
    if (this.#isStopping) return;
    this.#isStopping = true;
    const limits = this.#endAtLimits(signal);
    this.#starting.abort(new Error(`Ended by ${signal} before the models were loaded.`));
    this.#http.log.info({ signal }, 'draining');
    const { drainLimitMs } = this.#settings;
    const drainGrpc = async () => await (await this.#startedGrpc())?.drain(drainLimitMs);
    await Promise.all([this.#http.draining.drain(drainLimitMs), drainGrpc()]);
    clearTimeout(limits.drained);
    await finalizeModels(this.#models);
    this.#http.log.info('stopped');
    clearTimeout(limits.stopped);
    // A process with a thread that hangs, and was given up, would never end. Another process has ended before.
    setTimeout(() => endBy(signal), LINGER_MS).unref();
  }

  /**
   * Ends the process by the signal, because `process.exit` would wait for threads that compute: at the limit of draining,
   * where no model computes any more, and at the limit of stopping in any case.
   */
  #endAtLimits(signal: StopSignal): { readonly drained: NodeJS.Timeout; readonly stopped: NodeJS.Timeout } {
    const { drainLimitMs, stopLimitMs } = this.#settings;
    const end = () => {
      this.#http.log.error({ signal, stopLimitMs }, 'ended before everything was answered');
      endBy(signal);
    };
    const endUnlessServing = () => {
      if (!this.#models.some(({ model }) => model?.isHealthy())) end();
    };
    return {
      drained: setTimeout(endUnlessServing, drainLimitMs).unref(),
      stopped: setTimeout(end, stopLimitMs).unref(),
    };
  }

  async #listen(host: string): Promise<void> {
    const { vertexPort, port, tlsCert } = this.#settings;
    const listenTextResolver = (url: string) =>
      `Server listening at ${tlsCert === undefined ? url : url.replace(/^http:/, 'https:')}`;
    try {
      await this.#http.listen({ host, port: vertexPort ?? port, listenTextResolver });
      await this.#http.listener.listenOnOthers(host);
    } catch (cause) {
      throw listenFailure(host, vertexPort ?? port, vertexPort === undefined ? 'PORT' : 'AIP_HTTP_PORT', cause);
    }
  }

  #startGrpc(): Promise<GrpcServer> | undefined {
    if (this.#settings.grpcPort === undefined) return undefined;
    return startGrpc({
      models: this.#models,
      settings: this.#settings,
      host: grpcAddress(this.#settings),
      log: this.#http.log,
      admission: this.#admission,
      metrics: this.#metrics,
    });
  }

  /** The gRPC server once it has started; `undefined` where there is none, or where it failed, which `start` reports. */
  async #startedGrpc(): Promise<GrpcServer | undefined> {
    return await this.#grpc?.catch(() => undefined);
  }
}

/** Imports the metrics while the models load, which takes longer. */
async function collectMetrics(models: readonly Handler[]): Promise<Metrics> {
  const { createMetrics } = await import('../service/metrics.ts');
  return createMetrics(models);
}

/** Imports gRPC only where the settings ask for it, because a process starts faster without. */
async function startGrpc(options: GrpcServerOptions): Promise<GrpcServer> {
  const { startGrpcServer } = await import('../grpc/server.ts');
  return await startGrpcServer(options);
}

async function serve(): Promise<void> {
  const modelSettings = settingsFromEnvironment();
  const settings = readServerSettings(process.env);
  const host = listenAddress(settings);
  const { tlsCert: cert, tlsKey: key, tlsClientCa: clientCa } = settings;
  const tls = await readTlsFiles({ prefix: 'BLIP_TLS', cert, key, clientCa });
  const service = new Service(modelSettings, settings, tls);
  stopOnSignals((signal) => void service.stop(signal));
  await service.start(host);
}

try {
  const { values } = readArguments({ options: { help: { type: 'boolean', short: 'h' } } });
  if (values.help === true) process.stderr.write(usage);
  else await serve();
} catch (error) {
  process.stderr.write(failureLine(error));
  process.exitCode = 1;
}
