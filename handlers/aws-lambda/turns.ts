import { HandlerError } from '../../protocol/errors.ts';

/** Lets the messages of one batch share the room in the models' queues. */
export interface Turns {
  /**
   * Calls `ask`. If it finds no room, calls it again whenever another message of the batch is done.
   * @throws what `ask` throws, but `OVERLOADED` only if there is no other message to wait for; the reason of `until`.
   */
  take<T>(ask: () => Promise<T>, until: AbortSignal): Promise<T>;
}

export function createTurns(): Turns {
  const waiting: (() => void)[] = [];
  let askingCount = 0;
  return {
    async take(ask, until) {
      for (;;) {
        until.throwIfAborted();
        askingCount += 1;
        let waits = false;
        try {
          return await ask();
        } catch (thrown) {
          waits = isOverload(thrown) && askingCount > 1;
          if (!waits) throw thrown;
        } finally {
          askingCount -= 1;
          if (!waits) for (const wake of waiting.splice(0)) wake();
        }
        await new Promise<void>((resolve) => waiting.push(resolve));
      }
    },
  };
}

function isOverload(thrown: unknown): boolean {
  return thrown instanceof HandlerError && thrown.code === 'OVERLOADED';
}
