import { type HandlerError, toHandlerError } from '../protocol/errors.ts';

/** A part of the work on a request that is over. Times are in milliseconds, on the clock of `performance.now()`. */
export interface Stage {
  /** `queue` is a wait for memory, for others to share a batch, or for a worker. `run` is the whole work of a worker. */
  readonly name: 'fetch' | 'inspect' | 'decode' | 'queue' | 'run';
  readonly startMs: number;
  readonly endMs: number;
  /** How many items a run computes, those of other requests included. */
  readonly itemCount?: number;
  /** Why it ended before its work was done. */
  readonly error?: HandlerError | undefined;
}

export type OnStage = (stage: Stage) => void;

/** Does the work of a stage, and reports the stage when it ends, also by an error. */
export async function watchStage<T>(
  name: Stage['name'],
  onStage: OnStage | undefined,
  work: () => Promise<T> | T,
): Promise<T> {
  if (onStage === undefined) return await work();
  const startMs = performance.now();
  return await doneOrFailed(work, (error) => onStage({ name, startMs, endMs: performance.now(), error }));
}

/** The events of a request that the run of its items reports to. */
interface RunEvents {
  readonly computing?: (() => void) | undefined;
  readonly stage?: OnStage | undefined;
}

/**
 * Has items computed, and reports their wait and their run when each ends, also by an error.
 * @param submit calls back when a worker takes the items: with the size of the batch, where others are among them.
 */
export async function watchRun<T>(
  { computing, stage }: RunEvents,
  itemCount: number,
  submit: (computing: ((batchSize?: number) => void) | undefined) => Promise<T>,
): Promise<T> {
  if (stage === undefined) return await submit(computing && (() => computing()));
  let current: Omit<Stage, 'endMs'> = { name: 'queue', startMs: performance.now() };
  const end = (error?: HandlerError) => stage({ ...current, endMs: performance.now(), error });
  const take = (batchSize = itemCount) => {
    end();
    current = { name: 'run', startMs: performance.now(), itemCount: batchSize };
    computing?.();
  };
  return await doneOrFailed(() => submit(take), end);
}

/** Does work, and calls `end` when it is done or has failed. */
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
