import { join } from 'node:path';
import { expect, test } from 'vitest';
import { quantizeCheckpoint } from '../../../checkpoint/quantize/quantize-checkpoint.ts';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { captioningGraph } from '../../../models/heads/captioning.ts';
import { openWeightsSession } from '../../../pipeline/sessions/weights-session.ts';
import { checkpointFolder, checkpointNames, openBlipCheckpoint } from '../../support/goldens.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

/** Which weights stay mapped where others are packed: those that are inputs with a default. */

test.each(checkpointNames)('%s as int8: its matrices of float32, and no others', async (name) => {
  const folder = join(temporaryFolder(), name);
  await quantizeCheckpoint(checkpointFolder(name), folder);
  const weights = openWeights(folder);
  const graph = captioningGraph(openBlipCheckpoint(folder), weights);
  const given = graph.inputs.length;
  const session = await openWeightsSession(graph, weights, { executionProvider: 'cpu', threadCount: 1 });
  await session.release();
  const overridable = graph.inputs.slice(given).map((input) => input.name);
  const matrices = [...graph.initializers.values()].filter(
    ({ elementType, shape }) => elementType === 'float32' && shape.length > 1,
  );
  expect(overridable).toEqual(matrices.map((matrix) => matrix.name));
  expect(overridable.some((tensor) => tensor.includes('word_embeddings'))).toBe(name === 'narrow-vision');
});

test.each(checkpointNames)('%s as it is: none', async (name) => {
  const checkpoint = openBlipCheckpoint(checkpointFolder(name));
  const weights = openWeights(checkpoint.folder);
  const graph = captioningGraph(checkpoint, weights);
  const given = graph.inputs.length;
  const session = await openWeightsSession(graph, weights, { executionProvider: 'cpu', threadCount: 1 });
  await session.release();
  expect(graph.inputs).toHaveLength(given);
});
