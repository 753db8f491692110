import { createHash } from 'node:crypto';
import { openCheckpoint } from '../../checkpoint/checkpoint.ts';
import { openWeights, type Weights } from '../../checkpoint/weights/weights.ts';
import { graphsOfTask } from '../../models/families.ts';
import type { GraphOptions } from '../../models/module.ts';
import { resizeGraph } from '../../models/towers/image-processor.ts';
import type { Graph } from '../../onnx/graph.ts';
import { encodeModel } from '../../onnx/model-proto.ts';

export interface RecordOptions extends GraphOptions {
  readonly imageSize?: number;
  /** Takes weights of float32 for weights of this type. */
  readonly dtype?: 'F16';
}

function digest(graph: Graph): string {
  return createHash('sha256').update(encodeModel(graph)).digest('hex');
}

/** `TITLE: GRAPH SHA-256`, a line for each graph of the checkpoint in `folder`. */
export function recordGraphs(title: string, folder: string, options: RecordOptions = {}): readonly string[] {
  const { dtype, imageSize, ...graphOptions } = options;
  const checkpoint = openCheckpoint(folder, imageSize);
  const opened = openWeights(folder);
  const weights = dtype === undefined ? opened : withDtype(opened, dtype);
  const { resize } = checkpoint.imageProcessor;
  const graphs = graphsOfTask(checkpoint, weights, graphOptions);
  const resizing = resize === undefined ? [] : [resizeGraph(resize)];
  return [...graphs, ...resizing].map((graph) => `${title}: ${graph.name} ${digest(graph)}`);
}

/** A table of tensors as if its float32 were of 16 bits: a graph names byte ranges, and reads none. */
function withDtype(weights: Weights, dtype: 'F16'): Weights {
  const regions = [...weights.regions].map(([name, region]) => {
    if (region.dtype !== 'F32') return [name, region] as const;
    return [name, { ...region, dtype, lengthBytes: region.lengthBytes / 2 }] as const;
  });
  return { ...weights, regions: new Map(regions) };
}
