import { hasQuantizedWeights } from '../../checkpoint/weights/int8-format.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import { type Graph, makeOverridable } from '../../onnx/graph.ts';
import type { LoadOptions } from './loaded-session.ts';
import { createSession, type Session } from './runtime.ts';

/** Opens a session on a graph whose weights lie in a checkpoint's files. */
export function openWeightsSession(graph: Graph, weights: Weights, options: LoadOptions): Promise<Session> {
  const isInt8 = hasQuantizedWeights(weights);
  // Repacking pays for the int8 matrices: two and a half times the speed where there is one row. Not for those of
  // float32; narrower ones stay constants, or they would be widened at every run.
  if (isInt8) makeOverridable(graph, ({ elementType, shape }) => elementType === 'float32' && shape.length > 1);
  // Weights of 16 bits are widened by nodes of the graph: once, when they are constants that may be folded.
  return createSession(graph, {
    ...options,
    keepsThreadsSpinning: true,
    dataFolder: weights.dataFolder,
    foldConstants: !allFloat32(weights),
    prepacksWeights: isInt8,
  });
}

function allFloat32(weights: Weights): boolean {
  return [...weights.regions.values()].every(({ dtype }) => dtype !== 'F16' && dtype !== 'BF16');
}
