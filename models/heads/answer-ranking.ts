import type { BlipCheckpoint } from '../../checkpoint/checkpoint.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import { float32, int64, int64s } from '../../onnx/constants.ts';
import { addInput, addOutput, createGraph, type Graph, type Scope, type Value } from '../../onnx/graph.ts';
import * as op from '../../onnx/operators.ts';
import { emptyCache, languageModelHead, textDecoderStates } from '../language-models/text-decoder.ts';
import { child, rootModule } from '../module.ts';
import { rowsByImage } from '../rows-by-image.ts';
import { addQuestionInputs, encodeQuestions } from './question-answering.ts';

/**
 * How likely each of some candidate answers is: the ranking of the original BLIP (salesforce/BLIP, models/blip_vqa.py,
 * `rank_answer`), of all candidates rather than of those whose first token is the likeliest.
 *
 * Inputs: `images`, `image_index`, `question_ids` and `question_length` as for question answering; `candidate_ids` int64
 * [candidates, length], each [DEC], an answer and [SEP], padded on the right; `candidate_length` int64 [candidates].
 *
 * Outputs: `token_logprobs` [rows, candidates, length], zero for [DEC] and padding.
 * @throws CheckpointError when a tensor is missing or has another shape than the configuration says.
 */
export function answerRankingGraph(checkpoint: BlipCheckpoint, weights: Weights): Graph {
  const { text } = checkpoint.config;
  const graph = createGraph('answer-ranking');
  const inputs = addQuestionInputs(graph, checkpoint);
  const candidateIds = addInput(graph, 'candidate_ids', 'int64', ['candidates', 'length']);
  const candidateLength = addInput(graph, 'candidate_length', 'int64', ['candidates']);

  const model = rootModule(graph, weights);
  const decoder = child(model, 'text_decoder');
  const rowCount = op.dimension(model, inputs.questionIds, 0);
  const candidateCount = op.dimension(model, candidateIds, 0);
  const length = op.dimension(model, candidateIds, 1);
  const sequenceCount = op.mul(model, rowCount, candidateCount); // Every row with every candidate.
  const rowOfSequence = repeated(model, countTo(model, rowCount), candidateCount);
  const tiled = op.expand(model, op.unsqueeze(model, candidateIds, [0]), [rowCount, 1, 1]);
  const states = textDecoderStates(decoder, text, {
    inputIds: op.reshapeTo(model, tiled, op.shape(model, [-1, length])),
    paddingLength: op.expand(model, int64(model, 0), [sequenceCount]),
    past: emptyCache(model, text, sequenceCount),
    cross: encodeQuestions(model, checkpoint, inputs),
    rowsByImage: rowsByImage(model, rowOfSequence, rowCount, text.hiddenSize),
  });
  const logits = languageModelHead(decoder, text, states.hidden); // [rows * candidates * length, vocabulary]
  const next = op.reshape(model, op.expand(model, nextTokens(model, candidateIds), [rowCount, 1, 1]), [-1, 1]);
  const ofNext = op.sub(model, op.gatherElements(model, logits, next, 1), op.reduceLogSumExp(model, logits, 1, true));
  const byPlace = op.reshapeTo(model, ofNext, op.shape(model, [rowCount, candidateCount, length]));
  addOutput(graph, 'token_logprobs', shifted(model, byPlace, candidateLength, length), [
    'rows',
    'candidates',
    'length',
  ]);
  return graph;
}

/** [count]: 0, 1, 2, … */
function countTo(scope: Scope, count: Value<'int64'>): Value<'int64'> {
  return op.range(scope, int64(scope, 0), op.squeeze(scope, count, [0]), int64(scope, 1));
}

/** [n] → [n * times], each element `times` times in a row. */
function repeated(scope: Scope, x: Value<'int64'>, times: Value<'int64'>): Value<'int64'> {
  return op.reshape(scope, op.expand(scope, op.unsqueeze(scope, x, [1]), [1, times]), [-1]);
}

/** [1, candidates, length]: the token that follows each; after the last, any. */
function nextTokens(scope: Scope, candidateIds: Value<'int64'>): Value<'int64'> {
  const end = int64s(scope, [Number.MAX_SAFE_INTEGER]);
  const later = op.slice(scope, candidateIds, int64s(scope, [1]), end, [1]);
  const first = op.slice(scope, candidateIds, int64s(scope, [0]), int64s(scope, [1]), [1]);
  return op.unsqueeze(scope, op.concat(scope, [later, first], 1), [0]);
}

/** Moves each logarithm from the token before to its own token, and puts zero at [DEC] and at padding. */
function shifted(
  scope: Scope,
  logprobs: Value<'float32'>,
  candidateLength: Value<'int64'>,
  length: Value<'int64'>,
): Value<'float32'> {
  const last = op.slice(scope, logprobs, int64s(scope, [-1]), int64s(scope, [Number.MAX_SAFE_INTEGER]), [2]);
  const others = op.slice(scope, logprobs, int64s(scope, [0]), int64s(scope, [-1]), [2]);
  const places = op.unsqueeze(scope, countTo(scope, length), [0, 1]); // [1, 1, length]
  const isToken = op.and(
    scope,
    op.greater(scope, places, int64(scope, 0)),
    op.less(scope, places, op.unsqueeze(scope, candidateLength, [0, 2])),
  );
  return op.where(scope, isToken, op.concat(scope, [last, others], 2), float32(scope, 0));
}
