import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import InferlessModel from '../../app.ts';
import { type Settings, settingsOfModels } from '../../pipeline/settings.ts';
import { createServer } from '../http/server.ts';
import { heedInvocations } from './invocation-signal.ts';

/** An execution environment of Lambda: the models that all invocations share, and the routes to them. */
export interface Environment {
  readonly settings: Settings;
  readonly models: readonly InferlessModel[];
  /** The HTTP server. It never listens; requests are handed to it. */
  readonly server: FastifyInstance;
  /**
   * Loads the models; once, however many invocations wait for it. A load that failed is tried again by the next call:
   * an environment lives as long as it is asked, and a download may succeed later.
   * @throws CheckpointError or HandlerError as `InferlessModel.initialize` does.
   */
  load(): Promise<void>;
  /** Releases the models. */
  close(): Promise<void>;
}

export function createEnvironment(settings: Settings): Environment {
  const models = settingsOfModels(settings).map((own) => new InferlessModel(own));
  const server = createServer(models, settings);
  heedInvocations(server);
  const closing = new AbortController();
  let loading: Promise<void> | undefined;
  return {
    settings,
    models,
    server,
    load() {
      loading ??= loadAll(models, server.log, closing.signal).catch((error: unknown) => {
        loading = undefined;
        server.log.error({ err: error }, 'not loaded');
        throw error;
      });
      return loading;
    },
    async close() {
      closing.abort(new Error('Ended by the platform before the models were loaded.'));
      await Promise.all(models.map((model) => model.finalize()));
    },
  };
}

async function loadAll(models: readonly InferlessModel[], log: FastifyBaseLogger, signal: AbortSignal): Promise<void> {
  const onNotice = (line: string) => log.info(line);
  await Promise.all(models.map((model) => model.initialize({ onNotice, signal })));
  for (const { model, name } of models) {
    if (model === undefined) continue;
    for (const warning of model.checkpoint.config.warnings) log.warn(warning);
    const { checkpoint, executionProvider, loadMs } = model;
    const times = { loadMs: Math.round(loadMs), sinceStartMs: Math.round(performance.now()) };
    log.info({ model: name, checkpoint: checkpoint.folder, ...executionProvider, ...times }, 'ready');
  }
}
