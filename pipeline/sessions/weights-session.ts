import { hasQuantizedWeights } from '../../checkpoint/weights/int8-format.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import { type Graph, makeOverridable } from '../../onnx/graph.ts';
import type { LoadOptions } from './loaded-session.ts';
import { createSession, type Session } from './runtime.ts';

/** Opens a session on a graph whose weights lie in a checkpoint's files. */
export function openWeightsSession(graph: Graph, weights: Weights, options: LoadOptions): Promise<Session> {
  const isInt8 = hasQuantizedWeights(weights);
  // Repacking pays for the int8 matrices: two and a half times the speed where there is one row. It does not for those of
  // float32. Weights of 16 bits stay constants, because overridable ones would be widened at every run.
  if (isInt8) makeOverridable(graph, ({ elementType, shape }) => elementType === 'float32' && shape.length > 1);
  // Nodes of the graph cast weights that the file has in another precision, or join some; folded, they run once.
  return createSession(graph, {
    ...options,
    keepsThreadsSpinning: true,
    dataFolder: weights.dataFolder,
    foldConstants: graph.convertedInitializers.size > 0,
    prepacksWeights: isInt8,
  });
}
