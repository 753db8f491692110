import { hasQuantizedWeights } from '../../checkpoint/weights/int8-format.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import { type Graph, type Initializer, namesReadBy, withOverridable } from '../../onnx/graph.ts';
import type { LoadOptions } from './loaded-session.ts';
import { createSession, type Session } from './runtime.ts';
import type { WeightsLayout } from './weights-choices.ts';
import { requireRoomToWiden } from './widened-weights.ts';

/** A session that can pack its weights between two runs. */
export interface WeightsSession extends Session {
  /**
   * Opens a session with packed weights, which takes the place of the mapped one. It blocks the calling thread, and for a
   * moment the memory of both is in use. Where weights are packed already, it does nothing.
   * @throws Error of the runtime, for want of memory for instance. Then the mapped session stays.
   */
  pack(): Promise<void>;
}

/**
 * Opens a session on a graph whose weights lie in a checkpoint's files.
 * @throws CheckpointError when weights of 16 bits would take more than half of the memory, widened for a CPU.
 */
export async function openWeightsSession(
  graph: Graph,
  weights: Weights,
  options: LoadOptions,
): Promise<WeightsSession> {
  if (options.executionProvider === 'cpu') requireRoomToWiden(graph, weights.folder);
  const open = (isPacked: boolean) => {
    const placed = placeWeights(graph, hasQuantizedWeights(weights), isPacked);
    return createSession(placed.graph, {
      ...options,
      keepsThreadsSpinning: true,
      dataFolder: weights.dataFolder,
      // Nodes of the graph cast weights that the file has in another precision, or join some; folded, they run once.
      foldConstants: graph.convertedInitializers.size > 0,
      // A GPU has a copy of its own, in an order of its own.
      prepacksWeights: placed.prepacksWeights && options.executionProvider === 'cpu',
    });
  };
  return isPackedAtOnce(graph, options.weights)
    ? alreadyPacked(await open(true))
    : packable(await open(false), () => open(true));
}

/** A graph that says which matrices stay mapped, and whether the runtime packs the others. */
interface PlacedWeights {
  readonly graph: Graph;
  readonly prepacksWeights: boolean;
}

/**
 * Chooses which matrices are packed. Beside int8 matrices, those of float32 are few, and always stay mapped. Weights of 16
 * bits stay constants, because overridable ones would be widened at every run. Products of blocks (MatMulNBits) are fifty
 * times as slow where they are not packed, so their matrices always are. With them the few matrices of float32 that are
 * multiplied with are packed as well: such a product gives a row the same bits in any batch, and one with a mapped matrix
 * does not. The difference is tiny, but rounding to 8 bits behind it can turn it into a step.
 */
export function placeWeights(graph: Graph, isInt8: boolean, isPacked: boolean): PlacedWeights {
  if (!isInt8) return { graph, prepacksWeights: isPacked };
  const inBlocks = namesReadBy(graph, 'MatMulNBits');
  const exact = inBlocks.size === 0 ? new Set<string>() : namesReadBy(graph, 'Gemm');
  const isMapped = ({ name, elementType, shape }: Initializer) =>
    shape.length > 1 &&
    (elementType === 'float32' ? !exact.has(name) : elementType === 'int8' && !isPacked) &&
    !inBlocks.has(name);
  const placed = withOverridable(graph, isMapped);
  return { graph: placed, prepacksWeights: isPacked || inBlocks.size > 0 };
}

/**
 * A mapped session packs its blocks too, so while it is replaced by a packed one both have a copy of them. A language model
 * behind a Q-Former has gigabytes of blocks: there everything is packed when the session is opened.
 */
const MAX_BYTES_PACKED_TWICE = 512 << 20;

/** Whether weights are packed when the session is opened. */
export function isPackedAtOnce(graph: Graph, layout: WeightsLayout | undefined): boolean {
  if (layout !== 'packed-when-idle') return layout === 'packed';
  const inBlocks = namesReadBy(graph, 'MatMulNBits');
  const bytes = [...graph.initializers.values()].filter(({ name }) => inBlocks.has(name)).map(bytesOf);
  return bytes.reduce((sum, each) => sum + each, 0) > MAX_BYTES_PACKED_TWICE;
}

function bytesOf({ data }: Initializer): number {
  return data instanceof Uint8Array ? data.byteLength : data.lengthBytes;
}

function alreadyPacked(session: Session): WeightsSession {
  return { ...session, pack: async () => undefined };
}

function packable(mapped: Session, openPacked: () => Promise<Session>): WeightsSession {
  let session = mapped;
  return {
    run: (...given) => session.run(...given),
    async pack() {
      if (session !== mapped) return;
      session = await openPacked();
      await mapped.release();
    },
    release: () => session.release(),
  };
}
