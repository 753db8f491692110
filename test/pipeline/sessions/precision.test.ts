import { expect, test } from 'vitest';
import { openCheckpoint } from '../../../checkpoint/checkpoint.ts';
import { loadSession } from '../../../pipeline/sessions/load-session.ts';
import type { LoadOptions } from '../../../pipeline/sessions/loaded-session.ts';
import { expectClose } from '../../support/close-to.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { greyBatch } from '../../support/worker-batches.ts';

async function logprobs(options: Pick<LoadOptions, 'precision' | 'form'>): Promise<readonly number[]> {
  const checkpoint = openCheckpoint(checkpointFolder('narrow-vision'));
  const session = await loadSession(checkpoint, { executionProvider: 'cpu', threadCount: 1, ...options });
  const { results } = await session.runs.generation(greyBatch());
  await session.release();
  return results[0]?.[0]?.tokenLogprobs ?? [];
}

test('a session computes in the precision and the form of its options', async () => {
  const [wide, narrow, lean] = [
    await logprobs({ precision: 'float32' }),
    await logprobs({ precision: 'float16' }),
    await logprobs({ precision: 'float32', form: 'lean' }),
  ];
  expect(narrow).not.toEqual(wide);
  expectClose(narrow, wide, { absolute: 0.06 }); // The tolerance of test/models/float16.test.ts.
  expectClose(lean, wide, { absolute: 1e-4 });
});
