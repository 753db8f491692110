import { CheckpointError, type CheckpointErrorCode } from './checkpoint/errors.ts';
import type { Inputs, Outputs } from './input_schema.ts';
import {
  type InferRequest,
  joinEvents,
  type RequestEvents,
  type TensorAnswer,
  tellEach,
} from './pipeline/infer-request.ts';
import { type RunningModel, type StartOptions, startModel } from './pipeline/model.ts';
import { readSettings, type Settings } from './pipeline/settings.ts';
import { type ErrorCode, HandlerError, toHandlerError } from './protocol/errors.ts';
import { type NamedTensor, valuesByName } from './protocol/named-tensor.ts';
import type { TaskSchema } from './protocol/schema.ts';
import { shippedFile } from './shipped-files.ts';

/**
 * Settings from the environment variables of this process, except for those that are given.
 * @throws HandlerError `SETTINGS_INVALID`, naming the variable or the setting.
 */
export function settingsFromEnvironment(chosen: Partial<Settings> = {}): Settings {
  const shippedCheckpoint = shippedFile('checkpoints/scenes-captioning');
  return readSettings({ environment: process.env, shippedCheckpoint, chosen });
}

/** The events of all requests to a handler, and of its batches: for metrics and statistics. */
export interface HandlerEvents extends RequestEvents {
  /** A worker has computed a batch of so many items; how the cache served its images, where there is one. */
  readonly batchDone?: NonNullable<StartOptions['batchDone']>;
}

/**
 * The handler, with the lifecycle of an Inferless model: `initialize` once, `infer` any number of times, `finalize`.
 * Every platform uses this class; handlers/ has the code that is particular to one platform.
 */
export default class Handler {
  readonly settings: Settings;
  readonly #listeners = new Set<HandlerEvents>();
  #starting: Promise<RunningModel> | undefined;
  #model: RunningModel | undefined;

  /**
   * @param settings any of the settings. Those that are left out come from environment variables.
   * @throws HandlerError `SETTINGS_INVALID`, naming the setting or the variable.
   */
  constructor(settings: Partial<Settings> = {}) {
    this.settings = settingsFromEnvironment(settings);
  }

  /** The loaded model; `undefined` before `initialize` and after `finalize`. */
  get model(): RunningModel | undefined {
    return this.#model;
  }

  /** The name in paths and answers: that of the settings, else the checkpoint's task; `undefined` until that is loaded. */
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
   * Loads the checkpoint once, however often it is called. A checkpoint of the Hub is fetched, where the cache lacks it.
   * @throws CheckpointError when it cannot be served; HandlerError `EXECUTION_PROVIDER_UNAVAILABLE`, or
   *   `NATIVE_LIBRARY_UNUSABLE`, or `SETTINGS_INVALID` when another model has another bound for decoded images.
   */
  async initialize(options: Omit<StartOptions, 'batchDone'> = {}): Promise<void> {
    const batchDone: StartOptions['batchDone'] = (...done) => {
      tellEach([...this.#listeners], (listener) => listener.batchDone?.(...done));
    };
    const starting = this.#starting ?? startModel(this.settings, { ...options, batchDone });
    this.#starting = starting;
    try {
      const model = await starting;
      if (this.#starting === starting) this.#model = model;
    } catch (error) {
      if (this.#starting === starting) this.#starting = undefined; // Another start may have begun meanwhile.
      throw error;
    }
  }

  /**
   * Answers a request of the checkpoint's task, in the form of Inferless: a dictionary of inputs (input_schema.ts).
   * @throws HandlerError when an input is not valid, or no item has a result.
   */
  async infer(inputs: Inputs): Promise<Outputs> {
    const { outputs } = await this.inferTensors({ inputs });
    return valuesByName(outputs);
  }

  /**
   * Answers a request with named tensors.
   * @throws HandlerError when an input is not valid, or no item has a result; the signal's reason, when it aborts.
   */
  async inferTensors(request: InferRequest): Promise<TensorAnswer> {
    const startMs = performance.now();
    const events = joinEvents([...this.#listeners, request.events]);
    const tellDone = (outcome: TensorAnswer | HandlerError) => events.done?.(outcome, performance.now() - startMs);
    try {
      const answer = await this.#requireModel().infer({ ...request, events });
      tellDone(answer);
      return answer;
    } catch (thrown) {
      tellDone(toHandlerError(thrown));
      throw thrown;
    }
  }

  /**
   * Refuses a request before anything of it is read, as `inferTensors` would refuse it then.
   * @param client who asks; `undefined` where there are no tokens.
   * @throws HandlerError `NOT_READY`; `OVERLOADED` where the queue has no room. Listeners get the second.
   */
  requireRoom(client?: string): void {
    const model = this.#requireModel();
    try {
      model.requireRoom(client);
    } catch (thrown) {
      tellEach([...this.#listeners], (listener) => listener.done?.(toHandlerError(thrown), 0));
      throw thrown;
    }
  }

  /** Tells a listener of all requests and batches that follow. */
  observe(listener: HandlerEvents): void {
    this.#listeners.add(listener);
  }

  /** Finishes the accepted requests and releases everything. `initialize` may follow again. */
  async finalize(): Promise<void> {
    const starting = this.#starting;
    this.#starting = undefined;
    this.#model = undefined;
    const model = await starting?.catch(() => undefined); // The caller of initialize has the error.
    await model?.close();
  }

  #requireModel(): RunningModel {
    if (this.#model !== undefined) return this.#model;
    throw new HandlerError('NOT_READY', 'Expected the model to be loaded, got a request before or after that.');
  }
}

export type {
  CheckpointErrorCode,
  ErrorCode,
  InferRequest,
  Inputs,
  NamedTensor,
  Outputs,
  RequestEvents,
  RunningModel,
  Settings,
  StartOptions,
  TaskSchema,
  TensorAnswer,
};
export { CheckpointError, Handler, Handler as InferlessModel, HandlerError };
