import type { FastifyInstance } from 'fastify';
import type Handler from '../../app.ts';
import type { Settings } from '../../pipeline/settings.ts';
import { createServer } from '../http/server.ts';
import { createModels, finalizeModels, loadModels, logReady } from '../service/model-loading.ts';
import type { ServerSettings } from '../service/server-settings.ts';
import { warnUnknownSettings } from '../service/unknown-settings.ts';
import { announceAuthorizer } from './authorizer.ts';
import { heedInvocations } from './invocation-signal.ts';

/** An execution environment of Lambda: the models that all invocations share, and the routes to them. */
export interface LambdaEnvironment {
  readonly settings: ServerSettings;
  readonly models: readonly Handler[];
  /** The HTTP server. It never listens; requests are handed to it. */
  readonly server: FastifyInstance;
  /**
   * Loads the models; once, however many invocations wait. After a failure the next call tries again, because an
   * environment lives on and a download may succeed later.
   * @throws CheckpointError or HandlerError as `Handler.initialize` does.
   */
  load(): Promise<void>;
  /** Releases the models. */
  close(): Promise<void>;
}

/**
 * An environment whose models are not loaded yet.
 * @throws HandlerError `SETTINGS_INVALID`.
 */
export function createEnvironment(modelSettings: Settings, settings: ServerSettings): LambdaEnvironment {
  const models = createModels(modelSettings, settings.models);
  const server = createServer(models, settings);
  heedInvocations(server);
  warnUnknownSettings(process.env, server.log);
  announceAuthorizer(settings, server.log);
  const closing = new AbortController();
  let loading: Promise<void> | undefined;
  const load = async () => {
    try {
      await loadModels(models, server.log, closing.signal);
    } catch (error) {
      loading = undefined;
      server.log.error({ err: error }, 'not loaded');
      throw error;
    }
    logReady(models, server.log);
  };
  return {
    settings,
    models,
    server,
    load() {
      loading ??= load();
      return loading;
    },
    async close() {
      closing.abort(new Error('Ended by the platform before the models were loaded.'));
      await finalizeModels(models);
    },
  };
}
