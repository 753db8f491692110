import { CheckpointError } from '../../checkpoint/errors.ts';
import type { Graph } from '../../onnx/graph.ts';
import { availableMemoryBytes } from '../container-limits.ts';

/** Weights of 16 bits, which a CPU computes with in float32. */

const FLOAT_BYTES = 4;

/** The memory that weights take which a graph converts to float32 when it is loaded. It is not shared with others. */
export function widenedBytes({ initializers, convertedInitializers }: Graph): number {
  let bytes = 0;
  for (const { name, elementType, shape } of initializers.values()) {
    const isWidened = elementType !== 'float32' && convertedInitializers.has(name);
    if (isWidened) bytes += shape.reduce((product, size) => product * size, FLOAT_BYTES);
  }
  return bytes;
}

/**
 * Checks that a graph's weights leave half of the memory free once they are float32.
 * @throws CheckpointError `CHECKPOINT_WEIGHTS_INVALID`.
 */
export function requireRoomToWiden(graph: Graph, folder: string, memory: number = availableMemoryBytes()): void {
  const bytes = widenedBytes(graph);
  if (bytes <= memory / 2) return;
  const gigabytes = (count: number) => `${(count / 1e9).toFixed(1)} GB`;
  throw new CheckpointError(
    'CHECKPOINT_WEIGHTS_INVALID',
    `${folder}: expected weights of 16 bits that take at most half of ${gigabytes(memory)} of memory in float32, as a ` +
      `CPU computes with them, got ${gigabytes(bytes)} for each worker. Make a smaller checkpoint of it with ` +
      '`blip-handler quantize` (int8, or --bits 4), or serve it on a GPU.',
  );
}
