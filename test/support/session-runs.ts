import { onTestFinished, vi } from 'vitest';
import * as runtime from '../../pipeline/sessions/runtime.ts';

const { createSession } = runtime; // Before it is replaced.

/**
 * Records the runs of graphs that have this input, until the test ends.
 * @returns for each run the number of items of that input; it grows with every run.
 */
export function recordRuns(inputName: string): readonly number[] {
  const itemCounts: number[] = [];
  const spy = vi.spyOn(runtime, 'createSession').mockImplementation(async (...given) => {
    const session = await createSession(...given);
    return {
      ...session,
      run(inputs, ...others) {
        const itemCount = inputs[inputName]?.shape[0];
        if (itemCount !== undefined) itemCounts.push(itemCount);
        return session.run(inputs, ...others);
      },
    };
  });
  onTestFinished(() => spy.mockRestore());
  return itemCounts;
}
