import type { BlipCheckpoint } from '../../checkpoint/checkpoint.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import { addInput, addOutput, createGraph, type Graph, type Value } from '../../onnx/graph.ts';
import type { Scope } from '../../onnx/scope.ts';
import { embedText, emptyCache, languageModelHead, textDecoderStates } from '../language-models/text-decoder.ts';
import { child, type GraphOptions, rootModule } from '../module.ts';
import { rowsByImage } from '../rows-by-image.ts';
import { addQuestionInputs, encodeQuestions } from './question-answering.ts';

/**
 * The likelihood of candidate answers: the ranking of the original BLIP (salesforce/BLIP, models/blip_vqa.py,
 * `rank_answer`), of all candidates rather than of those whose first token is the likeliest.
 *
 * Inputs: those of images, `image_index`, `question_ids` and `question_length` as for question answering; `candidate_ids`
 * int64 [candidates, length], each [DEC], an answer and [SEP], padded on the right; `candidate_length` int64 [candidates].
 *
 * Outputs: `token_logprobs` [rows, candidates, length], zero for [DEC] and padding; `new_vision_states` as for
 * captioning.
 * @throws CheckpointError when a tensor is missing or has another shape than the configuration says.
 */
export function answerRankingGraph(checkpoint: BlipCheckpoint, weights: Weights, options: GraphOptions = {}): Graph {
  const { text } = checkpoint.config;
  const graph = createGraph('answer-ranking');
  const model = rootModule(graph, weights, options);
  const inputs = addQuestionInputs(graph, checkpoint, model.form);
  const candidateIds = addInput(graph, 'candidate_ids', 'int64', ['candidates', 'length']);
  const candidateLength = addInput(graph, 'candidate_length', 'int64', ['candidates']);

  const { op } = model;
  const decoder = child(model, 'text_decoder');
  const rowCount = op.dimension(inputs.questionIds, 0);
  const candidateCount = op.dimension(candidateIds, 0);
  const length = op.dimension(candidateIds, 1);
  const sequenceCount = op.mul(rowCount, candidateCount); // Every row with every candidate.
  const rowOfSequence = op.div(op.countTo(sequenceCount), candidateCount);
  const tiled = op.expand(op.unsqueeze(candidateIds, [0]), [rowCount, 1, 1]);
  const states = textDecoderStates(decoder, text, {
    embeddings: embedText(decoder, text, op.reshape(tiled, op.shape([-1, length]))),
    paddingLength: op.fill('int64', 0, [sequenceCount]),
    past: emptyCache(model, text, sequenceCount, model.precision),
    cross: encodeQuestions(model, checkpoint, inputs),
    rowsByImage: rowsByImage(model, rowOfSequence, rowCount, text.hiddenSize),
  });
  const logits = languageModelHead(decoder, text, states.hidden); // [rows * candidates * length, vocabulary]
  const next = op.reshape(op.expand(nextTokens(model, candidateIds), [rowCount, 1, 1]), [-1, 1]);
  const ofNext = op.sub(op.gatherElements(logits, next, 1), op.reduceLogSumExp(logits, 1, true));
  const byPosition = op.reshape(ofNext, op.shape([rowCount, candidateCount, length]));
  addOutput(graph, 'token_logprobs', shifted(model, byPosition, candidateLength, length), [
    'rows',
    'candidates',
    'length',
  ]);
  return graph;
}

/** [1, candidates, length]: the token that follows each; after the last, any. */
function nextTokens({ op }: Scope, candidateIds: Value<'int64'>): Value<'int64'> {
  const later = op.slice(candidateIds, [1], [Number.MAX_SAFE_INTEGER], [1]);
  const first = op.slice(candidateIds, [0], [1], [1]);
  return op.unsqueeze(op.concat([later, first], 1), [0]);
}

/** Moves each logarithm from the token before to the token that it is of, and puts zero at [DEC] and at padding. */
function shifted(
  { op }: Scope,
  logprobs: Value<'float32'>,
  candidateLength: Value<'int64'>,
  length: Value<'int64'>,
): Value<'float32'> {
  const last = op.slice(logprobs, [-1], [Number.MAX_SAFE_INTEGER], [2]);
  const others = op.slice(logprobs, [0], [-1], [2]);
  const positions = op.unsqueeze(op.countTo(length), [0, 1]); // [1, 1, length]
  const isToken = op.and(op.greater(positions, 0), op.less(positions, op.unsqueeze(candidateLength, [0, 2])));
  return op.where(isToken, op.concat([last, others], 2), 0);
}
