import type { PresetName } from '../../checkpoint/config/generation-parameters.ts';
import type { Real } from '../../onnx/element-type.ts';
import type { RequestSize } from '../accepted-requests.ts';
import type { ImageOptions, ImageSource, LoadedImage } from '../images/image-source.ts';
import type { InferRequest, RequestEvents, StageTimes, TaskAnswer } from '../infer-request.ts';
import type { CheckpointTokenizer } from '../texts/tokenizer.ts';
import type { BatcherOptions } from '../workers/batcher.ts';
import type { GenerationLimits } from './generation-settings.ts';

/** A request that was read and has not begun. */
export interface TaskRequest {
  /** How much it asks for, which counts against the limits of the queue. */
  readonly size: RequestSize;
  /**
   * Computes the answer. When the signal aborts, items that wait are dropped. Of the events, `accepted` and `done` are left
   * to the caller.
   * @throws HandlerError when no item has a result, or a text that all items need is too long; the signal's reason, when
   *   the request was dropped.
   */
  readonly run: (listening: Listening) => Promise<TaskAnswer>;
}

/** The signal that drops a request, whose request it is, and the events that tell of it. */
export type Listening = Pick<InferRequest, 'signal' | 'client' | 'events'>;

/**
 * Reads the checked inputs of a task.
 * @param outputs names of the tensors to return, in their order.
 * @throws HandlerError `INVALID_INPUT` or `INVALID_PARAMETER`, which concern all items.
 */
export type ReadRequest<Inputs> = (inputs: Inputs, outputs: readonly string[]) => TaskRequest;

/** The parts of a running model that its task uses, besides checkpoint and workers. */
export interface TaskContext extends BatcherOptions, GenerationLimits {
  /** The most bytes of caches and scores in one run; `undefined` for as many as the model usually needs. */
  readonly maxRunBytes: number | undefined;
  /** The preset of requests that name none; `undefined` where the service has none of the task's. */
  readonly preset?: PresetName | undefined;
  /** The type that the model computes with. */
  readonly precision: Real;
  readonly tokenizer: CheckpointTokenizer;
  readonly loadImage: (source: ImageSource, options: ImageOptions) => Promise<LoadedImage>;
  readonly imageOptions: ImageOptions;
}

/** The context of one request: its images are loaded, and its batches wait, until the signal aborts. */
export interface RequestContext extends TaskContext {
  readonly signal: AbortSignal | undefined;
  readonly client: string | undefined;
  readonly events: RequestEvents;
}

export function requestContext(context: TaskContext, { signal, client, events = {} }: Listening): RequestContext {
  const imageOptions = { ...context.imageOptions, signal, client, onStage: events.stage };
  return { ...context, signal, client, events, imageOptions };
}

export function noTimes(): StageTimes {
  return { fetchMs: 0, decodeMs: 0, queueMs: 0, resizeMs: 0, computeMs: 0 };
}

const stageNames = ['fetchMs', 'decodeMs', 'queueMs', 'resizeMs', 'computeMs'] as const satisfies (keyof StageTimes)[];

/** Keeps the slowest time of each stage. */
export function recordSlowest(times: StageTimes, measured: Partial<StageTimes>): void {
  for (const stage of stageNames) times[stage] = Math.max(times[stage], measured[stage] ?? 0);
}
