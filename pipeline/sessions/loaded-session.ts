import type { RgbImage } from '../images/image-decode.ts';
import type { ExecutionProvider } from './runtime.ts';

export interface LoadOptions {
  readonly executionProvider: ExecutionProvider;
  readonly threadCount: number;
  /** Side of images in pixels, where it is not the checkpoint's. */
  readonly imageSize?: number | undefined;
}

/** What every batch has: its images, whose pixels are copied to the thread that computes. */
export interface ImageBatch {
  readonly images: readonly RgbImage[];
}

/** A model in a worker thread, ready to compute batches of its task. */
export interface LoadedSession<Batch extends ImageBatch, Result> {
  run(batch: Batch): Promise<Result>;
  release(): Promise<void>;
}
