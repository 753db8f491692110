import { hasQuantizedWeights } from '../../checkpoint/weights/int8-format.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import { type Graph, makeOverridable } from '../../onnx/graph.ts';
import type { LoadOptions } from './loaded-session.ts';
import { createSession, type Session } from './runtime.ts';

/** A session that can pack its weights between two runs. */
export interface WeightsSession extends Session {
  /**
   * Opens a session with packed weights, which takes the place of the mapped one. It blocks the calling thread, and for a
   * moment the memory of both is in use. Where weights are packed already, it does nothing.
   * @throws Error of the runtime, for want of memory for instance. Then the mapped session stays.
   */
  pack(): Promise<void>;
}

/** Opens a session on a graph whose weights lie in a checkpoint's files. */
export async function openWeightsSession(
  graph: Graph,
  weights: Weights,
  options: LoadOptions,
): Promise<WeightsSession> {
  // Beside int8 matrices, those of float32 are few, and stay mapped. Weights of 16 bits stay constants, because
  // overridable ones would be widened at every run.
  if (hasQuantizedWeights(weights))
    makeOverridable(graph, ({ elementType, shape }) => elementType === 'float32' && shape.length > 1);
  const open = (prepacksWeights: boolean) =>
    createSession(graph, {
      ...options,
      keepsThreadsSpinning: true,
      dataFolder: weights.dataFolder,
      // Nodes of the graph cast the weights that the file has in another precision; folded, they run once.
      foldConstants: graph.castInitializers.size > 0,
      prepacksWeights,
    });
  const isPacked = options.weights === 'packed';
  return isPacked ? alreadyPacked(await open(true)) : packable(await open(false), () => open(true));
}

function alreadyPacked(session: Session): WeightsSession {
  return { ...session, pack: async () => undefined };
}

function packable(mapped: Session, openPacked: () => Promise<Session>): WeightsSession {
  let session = mapped;
  return {
    run: (inputs) => session.run(inputs),
    async pack() {
      if (session !== mapped) return;
      session = await openPacked();
      await mapped.release();
    },
    release: () => session.release(),
  };
}
