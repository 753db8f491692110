import type Handler from '../../app.ts';
import { settingsFromEnvironment } from '../../app.ts';
import type { Settings } from '../../pipeline/settings.ts';
import type { GrpcServer, GrpcServerOptions } from '../grpc/server.ts';
import { createServer, type HttpServer } from '../http/server.ts';
import { type Admission, createAdmission } from '../service/admission.ts';
import { requireOneAuthorizer, warnOfPlatform } from '../service/authorizer.ts';
import { logContainerLimits } from '../service/container-limits-log.ts';
import { listenFailure } from '../service/listen-failure.ts';
import type { Metrics } from '../service/metrics.ts';
import { createModels, finalizeModels, loadModels, logReady } from '../service/model-loading.ts';
import { readServerSettings, type ServerSettings } from '../service/server-settings.ts';
import { startFailure } from '../service/start-failure.ts';
import { readTlsFiles, type TlsFiles } from '../service/tls-files.ts';
import { warnUnknownSettings } from '../service/unknown-settings.ts';
import { readArguments } from './command.ts';
import { grpcAddress, listenAddress } from './listen-address.ts';
import { completeSwitches, serveSettings, settingOptions, setVariables } from './setting-options.ts';
import { endBy, type StopSignal, stopOnSignals } from './signals.ts';

/** Serves one model or several over HTTP, and over gRPC if the settings ask for it, until a signal. */

/** The time for threads to end that have nothing more to do. */
const LINGER_MS = 2_000;

/** One process that serves models, from its start to its end. */
class Service {
  readonly #modelSettings: Settings;
  readonly #settings: ServerSettings;
  readonly #models: readonly Handler[];
  readonly #admission: Admission;
  readonly #metrics: Promise<Metrics>;
  readonly #http: HttpServer;
  readonly #starting = new AbortController();
  #grpc: Promise<GrpcServer> | undefined;
  #isStopping = false;

  constructor(modelSettings: Settings, settings: ServerSettings, tls: TlsFiles | undefined) {
    this.#modelSettings = modelSettings;
    this.#settings = settings;
    this.#models = createModels(modelSettings, settings.models);
    this.#admission = createAdmission(settings);
    this.#metrics = collectMetrics(this.#models);
    this.#http = createServer(this.#models, settings, this.#admission, this.#metrics, tls);
  }

  /** @throws HandlerError `SETTINGS_INVALID` when a port is not free; errors of the models when they are loaded. */
  async start(host: string): Promise<void> {
    warnUnknownSettings(process.env, this.#http.log);
    warnOfPlatform(this.#settings, this.#http.log);
    logContainerLimits(this.#modelSettings, this.#settings, this.#http.log);
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
  requireOneAuthorizer(settings);
  const host = listenAddress(settings);
  const { tlsCert: cert, tlsKey: key, tlsClientCa: clientCa } = settings;
  const tls = await readTlsFiles({ prefix: 'BLIP_TLS', cert, key, clientCa });
  const service = new Service(modelSettings, settings, tls);
  stopOnSignals((signal) => void service.stop(signal));
  await service.start(host);
}

/** Reads the options, which are settings, into the variables of this process. */
function readOptions(): void {
  const settings = serveSettings();
  const args = completeSwitches(process.argv.slice(2), settings);
  setVariables(readArguments({ args, options: settingOptions(settings) }).values, settings);
}

try {
  readOptions();
  await serve();
} catch (error) {
  process.stderr.write(startFailure(error));
  process.exitCode = 1;
}
