import type { GraphOptions } from '../../models/module.ts';
import type { ExecutionProvider } from './execution-provider-choices.ts';
import type { Pause } from './pause.ts';
import type { WeightsForm } from './weights-choices.ts';
import type { BatchOf, ResultOf, WorkKind } from './work.ts';

/** How a checkpoint is loaded, and the precision that its graphs compute in. */
export interface LoadOptions extends GraphOptions {
  readonly executionProvider: ExecutionProvider;
  readonly threadCount: number;
  /** `mapped` where this is absent. */
  readonly weights?: WeightsForm;
  /** Side of images in pixels, where it is not the checkpoint's. */
  readonly imageSize?: number | undefined;
  /** Bounds of one run of a graph that generates or ranks (run-bounds.ts). */
  readonly maxRunBytes?: number;
  readonly maxRunTokens?: number;
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
