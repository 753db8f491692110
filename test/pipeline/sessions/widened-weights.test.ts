import { expect, test } from 'vitest';
import { openCheckpoint } from '../../../checkpoint/checkpoint.ts';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { captioningGraph } from '../../../models/heads/captioning.ts';
import { requireRoomToWiden, widenedBytes } from '../../../pipeline/sessions/widened-weights.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

function graphOf(name: 'narrow-vision' | 'sharded-float16') {
  const checkpoint = openCheckpoint(checkpointFolder(name));
  if (checkpoint.task !== 'captioning') throw new Error('Expected a checkpoint for captions.');
  return { graph: captioningGraph(checkpoint, openWeights(checkpoint.folder)), folder: checkpoint.folder };
}

test('weights of float32 stay mapped, whatever their size', () => {
  const { graph, folder } = graphOf('narrow-vision');
  expect(widenedBytes(graph)).toBe(0);
  requireRoomToWiden(graph, folder, 1);
});

test('weights of 16 bits take twice their bytes, and are refused beyond half of the memory', () => {
  const { graph, folder } = graphOf('sharded-float16');
  const stored = [...openWeights(folder).regions.values()].filter(({ dtype }) => dtype === 'F16');
  const bytes = stored.reduce((sum, { lengthBytes }) => sum + 2 * lengthBytes, 0);
  expect(widenedBytes(graph)).toBeGreaterThan(bytes / 2);
  expect(widenedBytes(graph)).toBeLessThanOrEqual(bytes);
  requireRoomToWiden(graph, folder, 2 * widenedBytes(graph));
  expectCheckpointError(
    () => requireRoomToWiden(graph, folder, 2 * widenedBytes(graph) - 1),
    'CHECKPOINT_WEIGHTS_INVALID',
    [`${folder}: expected weights of 16 bits that take at most half of `, 'Make a smaller checkpoint', 'quantize'],
  );
});
