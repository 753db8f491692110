import Handler from '../../app.ts';
import type { Settings } from '../../pipeline/settings.ts';
import type { ModelChoice } from './server-settings.ts';

/** The models of a process, from their settings to their end. */

/** The settings of each model: they differ in name and checkpoint alone. Without choices there is one model. */
export function settingsOfModels(settings: Settings, choices: readonly ModelChoice[]): readonly Settings[] {
  if (choices.length === 0) return [settings];
  return choices.map(({ name, checkpoint }) => ({ ...settings, modelName: name, checkpoint }));
}

/** Models that are not loaded yet. */
export function createModels(settings: Settings, choices: readonly ModelChoice[]): readonly Handler[] {
  return settingsOfModels(settings, choices).map((modelSettings) => new Handler(modelSettings));
}

/** Where a server logs that models are loaded. */
interface LoadLog {
  info(details: object, message: string): void;
  info(message: string): void;
  warn(message: string): void;
}

/**
 * Loads models at once.
 * @param signal ends downloads that are under way.
 * @throws CheckpointError or HandlerError as `Handler.initialize` does.
 */
export async function loadModels(models: readonly Handler[], log: LoadLog, signal: AbortSignal): Promise<void> {
  const onNotice = (line: string) => log.info(line);
  await Promise.all(models.map((model) => model.initialize({ onNotice, signal })));
}

/** Logs of each model that it is ready, and what it runs on. */
export function logReady(models: readonly Handler[], log: LoadLog): void {
  for (const { model, name, settings } of models) {
    if (model === undefined) continue;
    for (const warning of model.checkpoint.config.warnings) log.warn(warning);
    log.info(
      {
        model: name,
        task: model.checkpoint.task,
        checkpoint: model.checkpoint.folder,
        architecture: model.checkpoint.architecture,
        ...model.executionProvider,
        optimizeFor: settings.optimizeFor,
        weights: model.weights,
        batchWindowMs: settings.batchWindowMs,
        precision: model.precision,
        ...(model.preset === undefined ? {} : { preset: model.preset }),
        ...(settings.deviceIds.length === 0 ? {} : { devices: settings.deviceIds }),
        workers: model.workers.workerCount,
        threadsPerWorker: model.workers.threadsPerWorker,
        loadMs: Math.round(model.loadMs),
        modelLoadMs: Math.round(model.modelLoadMs),
        sinceStartMs: Math.round(performance.now()),
      },
      'ready',
    );
  }
}

/** Finishes what the models accepted, and releases them. */
export async function finalizeModels(models: readonly Handler[]): Promise<void> {
  await Promise.all(models.map((model) => model.finalize()));
}
