import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { Inputs, Outputs } from './input_schema.ts';
import { type RunningModel, type StartOptions, startModel } from './pipeline/model.ts';
import { readSettings, type Settings } from './pipeline/settings.ts';
import type { Progress, TensorAnswer } from './pipeline/tasks/task.ts';
import { HandlerError, toHandlerError } from './protocol/errors.ts';
import { valuesByName } from './protocol/named-tensor.ts';
import type { TaskSchema } from './protocol/schema.ts';

/** What ships with the package lies beside this file, in the sources as in the bundle. */
const shippedCheckpoint = fileURLToPath(new URL('./checkpoints/scenes-captioning', import.meta.url));
export const shippedPage = fileURLToPath(new URL('./handlers/http/doors/page-and-docs/page', import.meta.url));
export const shippedPicture = fileURLToPath(new URL('./examples/apples-and-cat.png', import.meta.url));

/** Swagger UI: copied beside the bundle; in the sources, where npm put it. */
export function swaggerUiFolder(): string {
  const copied = fileURLToPath(new URL('./swagger-ui', import.meta.url));
  return existsSync(copied) ? copied : fileURLToPath(new URL('./node_modules/swagger-ui-dist', import.meta.url));
}

/** Settings from the environment variables of this process. */
export function settingsFromEnvironment(): Settings {
  return readSettings({ environment: process.env, cpuCount: availableParallelism(), shippedCheckpoint });
}

/** Is told what a model does: for metrics and statistics. */
export interface ModelObserver {
  /** After every request: what came of it, and how long it took. */
  readonly onRequest?: (outcome: TensorAnswer | HandlerError, durationMs: number) => void;
  /** After every run of a worker: how many items were computed together, and how long that took. */
  readonly onRun?: (itemCount: number, durationMs: number) => void;
}

/**
 * The handler, with the lifecycle of an Inferless model: `initialize` once, `infer` any number of times, `finalize`.
 * Everything a platform needs goes through this class; handlers/ holds what is particular to each.
 */
export default class Handler {
  readonly settings: Settings;
  readonly #observers = new Set<ModelObserver>();
  #starting: Promise<RunningModel> | undefined;
  #model: RunningModel | undefined;

  constructor(settings: Settings = settingsFromEnvironment()) {
    this.settings = settings;
  }

  /** The loaded model; `undefined` before `initialize` and after `finalize`. */
  get model(): RunningModel | undefined {
    return this.#model;
  }

  /** The name in paths and answers: that of the settings, else the checkpoint's task, which is known once it is loaded. */
  get name(): string | undefined {
    return this.settings.modelName ?? this.#model?.checkpoint.task;
  }

  /**
   * The inputs and outputs of the checkpoint's task.
   * @throws HandlerError `NOT_READY` before `initialize` and after `finalize`.
   */
  get schema(): TaskSchema {
    return this.#requireModel().schema;
  }

  /**
   * Loads the checkpoint; once, however often it is called. One of the Hub is fetched, where the cache lacks it.
   * @throws CheckpointError when it cannot be served, HandlerError when the execution provider does not work here.
   */
  async initialize(options: StartOptions = {}): Promise<void> {
    const onRun = (itemCount: number, durationMs: number) => {
      for (const observer of this.#observers) observer.onRun?.(itemCount, durationMs);
    };
    const starting = this.#starting ?? startModel(this.settings, { ...options, onRun });
    this.#starting = starting;
    try {
      const model = await starting;
      if (this.#starting === starting) this.#model = model;
    } catch (error) {
      if (this.#starting === starting) this.#starting = undefined; // Another may have begun meanwhile.
      throw error;
    }
  }

  /**
   * Answers a request of the checkpoint's task. Takes the dictionary that Inferless passes (input_schema.ts).
   * @throws HandlerError when an input is not valid, or no item has a result.
   */
  async infer(inputs: Inputs): Promise<Outputs> {
    const { outputs } = await this.inferTensors(inputs);
    return valuesByName(outputs);
  }

  /**
   * The same with named tensors.
   * @param inputs values by name, each one value or a list; checked here against input_schema.ts.
   * @param outputs names of the tensors to return; `undefined` for the usual ones.
   * @param signal when it aborts, what waits is dropped, and its reason is thrown; what runs goes on unheard.
   * @param progress is told how far the request has come.
   * @throws HandlerError as `infer` does.
   */
  async inferTensors(
    inputs: unknown,
    outputs?: readonly string[],
    signal?: AbortSignal,
    progress?: Progress,
  ): Promise<TensorAnswer> {
    const startMs = performance.now();
    const observe = (outcome: TensorAnswer | HandlerError) => this.#tell(outcome, performance.now() - startMs);
    try {
      const model = this.#requireModel();
      const answer = await model.infer(inputs, outputs ?? usualOutputs(model.schema), signal, progress);
      observe(answer);
      return answer;
    } catch (thrown) {
      observe(toHandlerError(thrown));
      throw thrown;
    }
  }

  /**
   * Refuses a request before anything of it is read, as `inferTensors` would refuse it then.
   * @throws HandlerError `NOT_READY`, or `OVERLOADED` where there is no room in the queue, which observers are told of.
   */
  requireRoom(): void {
    const model = this.#requireModel();
    try {
      model.requireRoom();
    } catch (thrown) {
      this.#tell(toHandlerError(thrown), 0);
      throw thrown;
    }
  }

  /** Tells an observer of all that follows. */
  observe(observer: ModelObserver): void {
    this.#observers.add(observer);
  }

  /** Finishes what was accepted and releases everything. `initialize` may follow again. */
  async finalize(): Promise<void> {
    const starting = this.#starting;
    this.#starting = undefined;
    this.#model = undefined;
    const model = await starting?.catch(() => undefined); // Whoever called initialize has the error.
    await model?.close();
  }

  #tell(outcome: TensorAnswer | HandlerError, durationMs: number): void {
    for (const observer of this.#observers) observer.onRequest?.(outcome, durationMs);
  }

  #requireModel(): RunningModel {
    if (this.#model !== undefined) return this.#model;
    throw new HandlerError('NOT_READY', 'Expected the model to be loaded, got a request before or after that.');
  }
}

function usualOutputs({ outputs }: TaskSchema): readonly string[] {
  return Object.entries(outputs)
    .filter(([, { onRequest }]) => !onRequest)
    .map(([name]) => name);
}
