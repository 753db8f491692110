import type { GraphOptions } from '../../models/module.ts';
import type { ExecutionProvider } from './execution-provider-choices.ts';
import type { BatchOf, ResultOf, WorkKind } from './work.ts';

/** How a checkpoint is loaded, and the precision that its graphs compute in. */
export interface LoadOptions extends GraphOptions {
  readonly executionProvider: ExecutionProvider;
  readonly threadCount: number;
  /** Side of images in pixels, where it is not the checkpoint's. */
  readonly imageSize?: number | undefined;
}

/** A checkpoint in a worker thread, ready to compute batches of some kinds. */
export interface LoadedSession<Kinds extends WorkKind> {
  /** Computes one batch at a time, of the kind that names the function. */
  readonly runs: { readonly [Kind in Kinds]: (batch: BatchOf<Kind>) => Promise<ResultOf<Kind>> };
  release(): Promise<void>;
}
