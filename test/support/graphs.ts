import { createHash } from 'node:crypto';
import { type Checkpoint, openCheckpoint } from '../../checkpoint/checkpoint.ts';
import { openWeights, type Weights } from '../../checkpoint/weights/weights.ts';
import { answerRankingGraph } from '../../models/heads/answer-ranking.ts';
import { captioningGraph } from '../../models/heads/captioning.ts';
import { clipImageGraph, clipRankGraph, clipTextGraph } from '../../models/heads/clip.ts';
import { questionAnsweringGraph } from '../../models/heads/question-answering.ts';
import { retrievalGraph } from '../../models/heads/retrieval.ts';
import { resizeGraph } from '../../models/towers/image-processor.ts';
import type { Graph } from '../../onnx/graph.ts';
import { encodeModel } from '../../onnx/model-proto.ts';

/** Every graph that the package writes for a checkpoint, except the one that resizes images. */
function modelGraphs(checkpoint: Checkpoint, weights: Weights): readonly Graph[] {
  switch (checkpoint.task) {
    case 'clip':
      return [clipImageGraph, clipTextGraph, clipRankGraph].map((write) => write(checkpoint, weights));
    case 'retrieval':
      return [retrievalGraph(checkpoint, weights)];
    case 'question-answering':
      return [questionAnsweringGraph, answerRankingGraph].map((write) => write(checkpoint, weights));
    case 'captioning':
      return [captioningGraph(checkpoint, weights)];
  }
}

function digest(graph: Graph): string {
  return createHash('sha256').update(encodeModel(graph)).digest('hex');
}

/** `TITLE: GRAPH SHA-256`, a line for each graph of the checkpoint in `folder`. */
export function recordGraphs(
  title: string,
  folder: string,
  options: { readonly imageSize?: number; readonly dtype?: 'F16' } = {},
): readonly string[] {
  const checkpoint = openCheckpoint(folder, options.imageSize);
  const opened = openWeights(folder);
  const weights = options.dtype === undefined ? opened : withDtype(opened, options.dtype);
  const { resize } = checkpoint.imageProcessor;
  const graphs = [...modelGraphs(checkpoint, weights), ...(resize === undefined ? [] : [resizeGraph(resize)])];
  return graphs.map((graph) => `${title}: ${graph.name} ${digest(graph)}`);
}

/** The same table of tensors as if its float32 were of 16 bits: a graph names byte ranges, and reads none. */
function withDtype(weights: Weights, dtype: 'F16'): Weights {
  const regions = [...weights.regions].map(([name, region]) => {
    if (region.dtype !== 'F32') return [name, region] as const;
    return [name, { ...region, dtype, lengthBytes: region.lengthBytes / 2 }] as const;
  });
  return { ...weights, regions: new Map(regions) };
}
