import { type Checkpoint, isBlip2Retrieval } from '../checkpoint/checkpoint.ts';
import type { Weights } from '../checkpoint/weights/weights.ts';
import type { Graph } from '../onnx/graph.ts';
import { answerRankingGraph } from './heads/answer-ranking.ts';
import { blip2RetrievalGraph } from './heads/blip2-retrieval.ts';
import { captioningGraph } from './heads/captioning.ts';
import { clipImageGraph, clipRankGraph, clipTextGraph } from './heads/clip.ts';
import { imageTextToTextGraph } from './heads/image-text-to-text.ts';
import { questionAnsweringGraph } from './heads/question-answering.ts';
import { retrievalGraph } from './heads/retrieval.ts';
import type { GraphOptions } from './module.ts';

/** The graphs of each family, by task. The one that resizes images is in towers/image-processor.ts. */

export const blipGraphs = {
  captioning: { generation: captioningGraph },
  'question-answering': { generation: questionAnsweringGraph, ranking: answerRankingGraph },
  retrieval: { retrieval: retrievalGraph },
};

export const blip2Graphs = {
  'image-text-to-text': { generation: imageTextToTextGraph },
  retrieval: { retrieval: blip2RetrievalGraph },
};

export const clipGraphs = { clip: { image: clipImageGraph, text: clipTextGraph, rank: clipRankGraph } };

/**
 * Every graph of a checkpoint's task.
 * @throws CheckpointError when a tensor is missing or has another shape than the configuration says.
 */
export function graphsOfTask(checkpoint: Checkpoint, weights: Weights, options: GraphOptions = {}): readonly Graph[] {
  if (checkpoint.task === 'clip')
    return Object.values(clipGraphs[checkpoint.task]).map((write) => write(checkpoint, weights, options));
  if (checkpoint.task === 'image-text-to-text')
    return Object.values(blip2Graphs[checkpoint.task]).map((write) => write(checkpoint, weights, options));
  if (isBlip2Retrieval(checkpoint)) return [blip2Graphs.retrieval.retrieval(checkpoint, weights, options)];
  return Object.values(blipGraphs[checkpoint.task]).map((write) => write(checkpoint, weights, options));
}
