import type { HandlerError } from '../../protocol/errors.ts';
import type { NamedTensor } from '../../protocol/named-tensor.ts';
import type { ImageOptions, ImageSource, LoadedImage } from '../images/image-source.ts';
import type { OnStage } from '../stages.ts';
import type { Tokenizer } from '../texts/tokenizer.ts';
import type { BatcherOptions } from '../workers/batcher.ts';

/** The time of each stage of a request: that of its slowest item. */
export interface StageTimes {
  fetchMs: number;
  decodeMs: number;
  queueMs: number;
  resizeMs: number;
  computeMs: number;
}

/** An answer in named tensors, with its times. */
export interface TensorAnswer {
  readonly outputs: readonly NamedTensor[];
  /** Why some items have no result; the output `error` has their messages. */
  readonly failures: readonly HandlerError[];
  readonly times: StageTimes;
  readonly generatedTokens: number;
}

/** Is told how far a request has come. */
export interface Progress {
  /** It has its place in the queue: it is not refused any more. */
  readonly onAccepted?: () => void;
  /** A worker takes some of it, which nothing stops any more. Comes for each batch that it has a part in. */
  readonly onComputing?: () => void;
  /** A stage of it is over, well or not. Also comes when nobody waits for its answer any more. */
  readonly onStage?: OnStage;
}

/** A request that was read and has not begun. */
export interface TaskRequest {
  /** How many results it asks for, which count against the queue's limit. */
  readonly itemCount: number;
  /**
   * @param signal when it aborts, items that wait are dropped.
   * @param progress is told of the request's stages, and whenever a worker takes some of it.
   * @throws HandlerError when no item has a result, or a text that all items need is too long; the signal's reason, when
   *   the request was dropped.
   */
  readonly run: (signal: AbortSignal | undefined, progress?: Progress) => Promise<TensorAnswer>;
}

/**
 * Reads the checked inputs of a task.
 * @param outputs names of the tensors to return, in their order.
 * @throws HandlerError `INVALID_INPUT` or `INVALID_PARAMETER`, which concern all items.
 */
export type ReadRequest<Inputs> = (inputs: Inputs, outputs: readonly string[]) => TaskRequest;

/** The parts of a running model that its task uses, besides checkpoint and workers. */
export interface TaskContext extends BatcherOptions {
  readonly tokenizer: Tokenizer;
  readonly loadImage: (source: ImageSource, options: ImageOptions) => Promise<LoadedImage>;
  readonly imageOptions: ImageOptions;
}

/** The context of one request: its images are loaded, and its batches wait, until the signal aborts. */
export interface RequestContext extends TaskContext {
  readonly signal: AbortSignal | undefined;
  readonly progress: Progress;
}

export function requestContext(
  context: TaskContext,
  signal: AbortSignal | undefined,
  progress: Progress = {},
): RequestContext {
  return { ...context, signal, progress, imageOptions: { ...context.imageOptions, signal, onStage: progress.onStage } };
}

export function noTimes(): StageTimes {
  return { fetchMs: 0, decodeMs: 0, queueMs: 0, resizeMs: 0, computeMs: 0 };
}

const stageNames = ['fetchMs', 'decodeMs', 'queueMs', 'resizeMs', 'computeMs'] as const satisfies (keyof StageTimes)[];

/** Keeps the slowest time of each stage. */
export function recordSlowest(times: StageTimes, measured: Partial<StageTimes>): void {
  for (const stage of stageNames) times[stage] = Math.max(times[stage], measured[stage] ?? 0);
}
