import type { GraphOptions } from '../../models/module.ts';
import type { ExecutionProvider } from './execution-provider-choices.ts';
import type { ImageCache } from './image-cache.ts';
import type { Pause } from './pause.ts';
import type { WeightsLayout } from './weights-choices.ts';
import type { BatchOf, ResultOf, WorkKind } from './work.ts';

/** How a checkpoint is loaded, and the precision that its graphs compute in. */
export interface LoadOptions extends GraphOptions {
  readonly executionProvider: ExecutionProvider;
  /** The number of a CUDA device; the first where it is absent. */
  readonly deviceId?: number | undefined;
  readonly threadCount: number;
  /** `mapped` where this is absent. */
  readonly weights?: WeightsLayout;
  /** Side of images in pixels, where it is not the checkpoint's. */
  readonly imageSize?: number | undefined;
  /** Bounds of one run of a graph that generates or ranks (run-bounds.ts). */
  readonly maxRunBytes?: number;
  readonly maxRunTokens?: number;
  /** The most bytes of encodings of images that are kept for later batches; none are kept where this is absent or 0. */
  readonly imageCacheBytes?: number;
}

/** How a session of a task is opened. */
export interface SessionOptions extends LoadOptions {
  readonly imageCache?: ImageCache | undefined;
}

/** A checkpoint in a worker thread, ready to compute batches of some kinds. */
export interface LoadedSession<Kinds extends WorkKind> {
  /**
   * Computes a batch of the kind that names the function, in one bounded run of a graph or several. While a batch pauses
   * between its runs, others may be computed.
   */
  readonly runs: { readonly [Kind in Kinds]: (batch: BatchOf<Kind>, pause?: Pause) => Promise<ResultOf<Kind>> };
  /** Packs the weights that are mapped, between two runs (weights-session.ts). */
  pack(): Promise<void>;
  release(): Promise<void>;
}
