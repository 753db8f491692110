import { type HandlerError, toHandlerError } from '../protocol/errors.ts';

/** A stretch of the work on a request, when it is over. Times are in milliseconds, on the clock of `performance.now()`. */
export interface Stage {
  /** `queue` is any wait: for memory, for others to share a batch, or for a worker. `run` is all that a worker does. */
  readonly name: 'fetch' | 'inspect' | 'decode' | 'queue' | 'run';
  readonly startMs: number;
  readonly endMs: number;
  /** How many items a run computes, those of other requests too. */
  readonly itemCount?: number;
  /** Why it ended before its work was done. */
  readonly error?: HandlerError | undefined;
}

export type OnStage = (stage: Stage) => void;

/** Does the work of a stage, and tells of it when it is over, well or not. */
export async function watchStage<T>(
  name: Stage['name'],
  onStage: OnStage | undefined,
  work: () => Promise<T> | T,
): Promise<T> {
  if (onStage === undefined) return await work();
  const startMs = performance.now();
  return await doneOrFailed(work, (error) => onStage({ name, startMs, endMs: performance.now(), error }));
}

/**
 * Has items computed, and tells of their wait, and of their run, when it is over, well or not.
 * @param itemCount how many they are.
 * @param submit calls back when a worker takes them: with how many it takes, where others are among them.
 */
export async function watchRun<T>(
  { onComputing, onStage }: { readonly onComputing?: () => void; readonly onStage?: OnStage },
  itemCount: number,
  submit: (onComputing: ((batchSize?: number) => void) | undefined) => Promise<T>,
): Promise<T> {
  if (onStage === undefined) return await submit(onComputing);
  let current: Omit<Stage, 'endMs'> = { name: 'queue', startMs: performance.now() };
  const end = (error?: HandlerError) => onStage({ ...current, endMs: performance.now(), error });
  const take = (batchSize = itemCount) => {
    end();
    current = { name: 'run', startMs: performance.now(), itemCount: batchSize };
    onComputing?.();
  };
  return await doneOrFailed(() => submit(take), end);
}

/** Does work, and says when it is done, or why it failed. */
async function doneOrFailed<T>(work: () => Promise<T> | T, end: (error?: HandlerError) => void): Promise<T> {
  let result: T;
  try {
    result = await work();
  } catch (thrown) {
    end(toHandlerError(thrown));
    throw thrown;
  }
  end();
  return result;
}
