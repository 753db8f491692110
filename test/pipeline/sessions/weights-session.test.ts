import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { quantizeCheckpoint } from '../../../checkpoint/quantize/quantize-checkpoint.ts';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { captioningGraph } from '../../../models/heads/captioning.ts';
import { addInitializer, addNode, createBody, createGraph, type Graph, namesReadBy } from '../../../onnx/graph.ts';
import { weightsLayouts } from '../../../pipeline/sessions/weights-choices.ts';
import { isPackedAtOnce, placeWeights } from '../../../pipeline/sessions/weights-session.ts';
import { checkpointFolder, checkpointNames, openBlipCheckpoint } from '../../support/goldens.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

/** Which weights stay mapped where others are packed: those that are inputs with a default. */

async function captioningOf(folder: string): Promise<Graph> {
  return captioningGraph(openBlipCheckpoint(folder), openWeights(folder));
}

function mappedNames(graph: Graph, isPacked: boolean): readonly string[] {
  const placed = placeWeights(graph, true, isPacked);
  return placed.graph.inputs.slice(graph.inputs.length).map(({ name }) => name);
}

function matrixNames(graph: Graph, types: readonly string[]): readonly string[] {
  const initializers = [...graph.initializers.values()];
  return initializers
    .filter((each) => types.includes(each.elementType) && each.shape.length > 1)
    .map(({ name }) => name);
}

describe.each(checkpointNames)('%s', (name) => {
  test('as int8, packed: its matrices of float32 that rows are looked up in, and no others', async () => {
    const folder = join(temporaryFolder(), name);
    await quantizeCheckpoint(checkpointFolder(name), folder);
    const graph = await captioningOf(folder);
    const names = mappedNames(graph, true);
    const multiplied = namesReadBy(graph, 'Gemm');
    expect(names).toEqual(matrixNames(graph, ['float32']).filter((tensor) => !multiplied.has(tensor)));
    expect(names).not.toContain('vision_model.embeddings.patch_embedding.weight');
    expect(names.some((tensor) => tensor.includes('word_embeddings'))).toBe(name === 'narrow-vision');
    expect(placeWeights(graph, true, true).prepacksWeights).toBe(true);
  });

  test('as it is: none, whether it is packed or not', async () => {
    const graph = await captioningOf(checkpointFolder(name));
    expect(placeWeights(graph, false, false)).toEqual({ graph, prepacksWeights: false });
    expect(placeWeights(graph, false, true)).toEqual({ graph, prepacksWeights: true });
  });
});

describe('matrices of products in blocks', () => {
  /** A graph with a body that multiplies by blocks, beside an int8 matrix. */
  function withBlocks(): Graph {
    const graph = createGraph('test');
    const body = createBody(graph, 'body');
    const bytes = new Uint8Array(4);
    const x = addInitializer(graph, 'x', 'float32', [1, 1], bytes);
    const blocks = addInitializer(graph, 'blocks', 'uint8', [1, 1, 4], bytes);
    const scales = addInitializer(graph, 'scales', 'float32', [1, 1], bytes);
    addInitializer(graph, 'matrix', 'int8', [2, 2], bytes);
    addNode({ graph: body, path: '' }, { operator: 'MatMulNBits', inputs: [x, blocks, scales] }, ['float32']);
    addNode({ graph, path: '' }, { operator: 'If', inputs: [], attributes: { then_branch: { graph: body } } }, [
      'float32',
    ]);
    return graph;
  }

  test('are packed in a mapped session too, and no others', () => {
    const graph = withBlocks();
    expect(mappedNames(graph, false)).toEqual(['matrix']);
    expect(mappedNames(graph, true)).toEqual([]);
    expect(placeWeights(graph, true, false).prepacksWeights).toBe(true);
  });

  test('are packed at once where two copies of them would be too much', () => {
    const graph = withBlocks();
    expect([undefined, ...weightsLayouts].filter((layout) => isPackedAtOnce(graph, layout))).toEqual(['packed']);
    const large = { location: 'model.safetensors', offsetBytes: 0, lengthBytes: 600 << 20 };
    const blocks = addInitializer(graph, 'large', 'uint8', [600 << 10, 16, 64], large);
    expect(isPackedAtOnce(graph, 'packed-when-idle')).toBe(false); // No product reads it.
    addNode({ graph, path: '' }, { operator: 'MatMulNBits', inputs: [blocks] }, ['float32']);
    expect([undefined, ...weightsLayouts].filter((layout) => isPackedAtOnce(graph, layout))).toEqual([
      'packed',
      'packed-when-idle',
    ]);
  });
});
