import { HandlerError } from '../../protocol/errors.ts';

/** The messages of one batch, which share the room in front of the models. */
export interface Turns {
  /**
   * Does `ask`; where it finds no room, again whenever another of the batch is done.
   * @throws what `ask` throws, `OVERLOADED` only where there is no other to wait for; the reason of `until`.
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
