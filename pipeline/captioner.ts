import { availableParallelism } from 'node:os';
import { type Checkpoint, openCheckpoint } from '../checkpoint/checkpoint.ts';
import { HandlerError } from '../protocol/errors.ts';
import { createBatcher } from './batcher.ts';
import { type CaptionAnswer, type CaptionItem, captionItems, type ItemContext } from './caption-items.ts';
import { type ChosenExecutionProvider, chooseExecutionProvider } from './execution-provider.ts';
import { type GenerationInputs, resolveGenerationSettings } from './generation-settings.ts';
import type { ImageOptions } from './image-source.ts';
import type { Settings } from './settings.ts';
import { openTokenizer, type Tokenizer } from './tokenizer.ts';
import { startWorkerPool, type WorkerPool } from './worker-pool.ts';

export interface Captioner {
  readonly checkpoint: Checkpoint;
  readonly executionProvider: ChosenExecutionProvider;
  /** Time to be ready for captions: threads, imports, tokenizer and model. */
  readonly loadMs: number;
  /** The model's part of it: graph written, weights mapped, session open. */
  readonly modelLoadMs: number;
  /**
   * Captions every item. An item that fails leaves the others alone.
   * @throws HandlerError `INVALID_PARAMETER` or `OVERLOADED`, which concern all items.
   */
  caption(items: readonly CaptionItem[], inputs: GenerationInputs): Promise<CaptionAnswer>;
  /** Finishes what was accepted, then releases the model and its threads. */
  close(): Promise<void>;
}

/** @throws CheckpointError or HandlerError when the checkpoint or the execution provider cannot be used. */
export async function startCaptioner(settings: Settings): Promise<Captioner> {
  const startMs = performance.now();
  const checkpoint = openCheckpoint(settings.checkpoint);
  const executionProvider = await chooseExecutionProvider(settings.executionProvider);
  const starting = startWorkerPool(
    {
      folder: settings.checkpoint,
      executionProvider: executionProvider.executionProvider,
      threadCount: Math.min(settings.threadsPerWorker, availableParallelism()),
    },
    settings.workerCount,
  );
  try {
    // sharp and undici take as long to import as the worker takes to load the model, so both happen at once.
    const importing = import('./image-source.ts');
    const tokenizer = openTokenizer(settings.checkpoint);
    const [{ loadImage }, pool] = await Promise.all([importing, starting]);
    const loadMs = performance.now() - startMs;
    return createCaptioner(settings, { checkpoint, executionProvider, tokenizer, loadImage, pool, loadMs });
  } catch (error) {
    await starting.then(
      (pool) => pool.close(),
      () => undefined,
    );
    throw error;
  }
}

interface Parts {
  readonly checkpoint: Checkpoint;
  readonly executionProvider: ChosenExecutionProvider;
  readonly tokenizer: Tokenizer;
  readonly loadImage: ItemContext['loadImage'];
  readonly pool: WorkerPool;
  readonly loadMs: number;
}

function createCaptioner(settings: Settings, parts: Parts): Captioner {
  const { checkpoint, executionProvider, tokenizer, loadImage, pool, loadMs } = parts;
  const batcher = createBatcher(pool, settings);
  const imageOptions: ImageOptions = {
    timeoutMs: settings.imageTimeoutMs,
    maxBytes: settings.imageMaxBytes,
    maxRedirects: settings.imageMaxRedirects,
    maxPixels: settings.imageMaxPixels,
    applyExif: settings.imageApplyExif,
  };
  const accepted = new Set<Promise<CaptionAnswer>>();
  let acceptedItems = 0;
  return {
    checkpoint,
    executionProvider,
    loadMs,
    modelLoadMs: pool.loadMs,
    async caption(items, inputs) {
      const generation = resolveGenerationSettings(inputs, checkpoint.generationDefaults);
      requireRoom(items.length, acceptedItems, settings.maxQueueSize);
      acceptedItems += items.length;
      const answer = captionItems(items, generation, { checkpoint, tokenizer, loadImage, batcher, imageOptions });
      accepted.add(answer);
      try {
        return await answer;
      } finally {
        accepted.delete(answer);
        acceptedItems -= items.length;
      }
    },
    async close() {
      await Promise.allSettled(accepted);
      await pool.close();
    },
  };
}

function requireRoom(itemCount: number, acceptedItems: number, maxQueueSize: number): void {
  if (itemCount > maxQueueSize) {
    throw new HandlerError(
      'INVALID_INPUT',
      `Expected at most ${maxQueueSize} captions in one request, got ${itemCount}.`,
    );
  }
  if (acceptedItems + itemCount > maxQueueSize) {
    throw new HandlerError(
      'OVERLOADED',
      `Expected at most ${maxQueueSize} captions to be waiting, got more. Try again soon.`,
    );
  }
}
