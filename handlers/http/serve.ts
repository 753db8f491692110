#!/usr/bin/env node
import InferlessModel, { settingsFromEnvironment } from '../../app.ts';
import { type Settings, settingsOfModels } from '../../pipeline/settings.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { createServer } from './server.ts';

/** `npm start`: serves one model or several over HTTP until it is told to stop. */

const LOOPBACK = '127.0.0.1';
const loopbackHosts = [LOOPBACK, 'localhost', '::1'];

/**
 * The address to listen on: everyone's only where tokens keep strangers out.
 * @throws HandlerError `SETTINGS_INVALID` when other machines could ask without a token.
 */
function listenAddress({ host, apiTokens }: Settings): string {
  if (apiTokens.length > 0) return host ?? '0.0.0.0';
  if (host === undefined || loopbackHosts.includes(host)) return host ?? LOOPBACK;
  throw new HandlerError(
    'SETTINGS_INVALID',
    `Expected BLIP_API_TOKENS to be set when HOST is not loopback, got none for HOST ${host}.`,
  );
}

async function serve(settings: Settings): Promise<void> {
  const host = listenAddress(settings);
  const models = settingsOfModels(settings).map((own) => new InferlessModel(own));
  const server = createServer(models, settings);
  const finalize = () => Promise.all(models.map((model) => model.finalize()));
  const starting = new AbortController();
  let stopping = false;
  const stop = async (signal: string): Promise<void> => {
    if (stopping) return;
    stopping = true;
    starting.abort(new Error(`Ended by ${signal} before the models were loaded.`));
    server.log.info({ signal }, 'draining');
    await server.draining.drain(settings.drainLimitMs);
    await finalize();
    server.log.info('stopped');
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void stop(signal));

  await server.listen({ host, port: settings.port });
  try {
    const onNotice = (line: string) => server.log.info(line);
    await Promise.all(models.map((model) => model.initialize({ onNotice, signal: starting.signal })));
  } catch (error) {
    await finalize();
    await server.close();
    if (stopping) return; // It was told to: an ended download is no failure.
    throw error;
  }
  if (!stopping) for (const model of models) logReady(server.log, model);
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
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`${JSON.stringify({ error: message })}\n`);
  process.exitCode = 1;
}
