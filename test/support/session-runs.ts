import { onTestFinished, vi } from 'vitest';
import * as runtime from '../../pipeline/sessions/runtime.ts';

const { createSession } = runtime; // Before it is replaced.

/** For each run, from now on and until the test ends, of a graph that takes this input: how many items it has of it. */
export function recordRuns(inputName: string): readonly number[] {
  const itemCounts: number[] = [];
  const spy = vi.spyOn(runtime, 'createSession').mockImplementation(async (...given) => {
    const session = await createSession(...given);
    return {
      ...session,
      run(inputs) {
        const itemCount = inputs[inputName]?.shape[0];
        if (itemCount !== undefined) itemCounts.push(itemCount);
        return session.run(inputs);
      },
    };
  });
  onTestFinished(() => spy.mockRestore());
  return itemCounts;
}
