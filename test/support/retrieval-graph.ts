import {
  type Blip2RetrievalCheckpoint,
  type BlipCheckpoint,
  isBlip2Retrieval,
  openCheckpoint,
} from '../../checkpoint/checkpoint.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import { blip2Graphs, blipGraphs } from '../../models/families.ts';
import type { GraphOptions } from '../../models/module.ts';
import type { Graph } from '../../onnx/graph.ts';

/** A checkpoint of BLIP or BLIP-2 that compares images with texts. */
export type RetrievalCheckpoint = Extract<BlipCheckpoint | Blip2RetrievalCheckpoint, { readonly task: 'retrieval' }>;

export function openRetrievalCheckpoint(folder: string): RetrievalCheckpoint {
  const checkpoint = openCheckpoint(folder);
  if (checkpoint.task === 'retrieval') return checkpoint;
  throw new Error(`Expected a checkpoint for retrieval in ${folder}, got ${checkpoint.task}.`);
}

/** The graph of its family. */
export function retrievalGraphOf(checkpoint: RetrievalCheckpoint, weights: Weights, options: GraphOptions): Graph {
  return isBlip2Retrieval(checkpoint)
    ? blip2Graphs.retrieval.retrieval(checkpoint, weights, options)
    : blipGraphs.retrieval.retrieval(checkpoint, weights, options);
}
