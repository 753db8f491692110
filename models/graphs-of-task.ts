import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import type { Weights } from '../checkpoint/weights/weights.ts';
import type { Graph } from '../onnx/graph.ts';
import { answerRankingGraph } from './heads/answer-ranking.ts';
import { captioningGraph } from './heads/captioning.ts';
import { clipImageGraph, clipRankGraph, clipTextGraph } from './heads/clip.ts';
import { questionAnsweringGraph } from './heads/question-answering.ts';
import { retrievalGraph } from './heads/retrieval.ts';
import type { GraphOptions } from './module.ts';

/**
 * Every graph that the task of a checkpoint has, without the one that resizes images.
 * @throws CheckpointError when a tensor is missing or has another shape than the configuration says.
 */
export function graphsOfTask(checkpoint: Checkpoint, weights: Weights, options: GraphOptions = {}): readonly Graph[] {
  switch (checkpoint.task) {
    case 'captioning':
      return [captioningGraph(checkpoint, weights, options)];
    case 'question-answering':
      return [questionAnsweringGraph, answerRankingGraph].map((write) => write(checkpoint, weights, options));
    case 'retrieval':
      return [retrievalGraph(checkpoint, weights, options)];
    case 'clip':
      return [clipImageGraph, clipTextGraph, clipRankGraph].map((write) => write(checkpoint, weights, options));
  }
}
