import type { QuantizedPrecision } from '../checkpoint/weights/int8-format.ts';
import type { HandlerError } from '../protocol/errors.ts';
import type { NamedTensor } from '../protocol/named-tensor.ts';
import type { Precision } from './sessions/execution-provider-choices.ts';
import type { Stage } from './stages.ts';

/** One request to a model. */
export interface InferRequest {
  /** Values by input name, each one value or a list. They are checked against the schema of the model's task. */
  readonly inputs: unknown;
  /** Names of the tensors to return, in their order; `undefined` for the usual ones. */
  readonly outputs?: readonly string[] | undefined;
  /**
   * When it aborts, its reason is thrown at once. Items that wait are dropped; a run that has begun goes on, and what
   * follows it is dropped too, unless others share the batch.
   */
  readonly signal?: AbortSignal | undefined;
  /** The name of whoever asks: the clients of a model take turns. Requests without a name are one client's. */
  readonly client?: string | undefined;
  readonly events?: RequestEvents | undefined;
}

/** The story of a request, for those who listen: metrics, traces, jobs. Each function is called when its part is over. */
export interface RequestEvents {
  /** The request has room in the queue, and is not refused any more. */
  readonly accepted?: (() => void) | undefined;
  /** A worker takes a batch with some of the request. Its first run is not stopped any more. */
  readonly computing?: (() => void) | undefined;
  /** A stage has ended, also by an error. Also called when nobody waits for the answer any more. */
  readonly stage?: ((stage: Stage) => void) | undefined;
  /** The request is answered, or fails. */
  readonly done?: ((outcome: TensorAnswer | HandlerError, durationMs: number) => void) | undefined;
}

/** The precision of a model: the type that it computes with, or what its weights are quantized to. */
export type AnswerPrecision = Precision | QuantizedPrecision;

/** The time of each stage of a request: that of its slowest item. */
export interface StageTimes {
  fetchMs: number;
  decodeMs: number;
  queueMs: number;
  resizeMs: number;
  computeMs: number;
}

/** The answer of a task, in named tensors, with its times. */
export interface TaskAnswer {
  readonly outputs: readonly NamedTensor[];
  /** Why some items have no result; the output `error` has their messages. */
  readonly failures: readonly HandlerError[];
  readonly times: StageTimes;
  readonly generatedTokens: number;
}

/** An answer with the precision that it was computed in. */
export interface TensorAnswer extends TaskAnswer {
  readonly precision: AnswerPrecision;
}

/**
 * Tells several listeners of one request. `stage` is absent where nobody listens to it, so that no times are taken. A
 * listener that throws is reported as a warning of the process, and changes nothing for the request or the others.
 */
export function joinEvents(listeners: readonly (RequestEvents | undefined)[]): RequestEvents {
  const present = listeners.filter((each) => each !== undefined);
  const hasStage = present.some((each) => each.stage !== undefined);
  return {
    accepted: () => tellEach(present, (each) => each.accepted?.()),
    computing: () => tellEach(present, (each) => each.computing?.()),
    stage: hasStage ? (ended) => tellEach(present, (each) => each.stage?.(ended)) : undefined,
    done: (outcome, durationMs) => tellEach(present, (each) => each.done?.(outcome, durationMs)),
  };
}

/** Calls every listener. One that throws is reported as a warning of the process. */
export function tellEach<Listener>(listeners: readonly Listener[], tell: (listener: Listener) => void): void {
  for (const listener of listeners) {
    try {
      tell(listener);
    } catch (thrown) {
      process.emitWarning(thrown instanceof Error ? thrown : new Error(String(thrown)));
    }
  }
}
