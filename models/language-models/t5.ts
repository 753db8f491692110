import type { T5Config } from '../../checkpoint/config/t5-config.ts';
import { lowestFinite, type Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import type { TargetShape } from '../../onnx/operators.ts';
import type { Scope } from '../../onnx/scope.ts';
import { embeddingRows } from '../embedding.ts';
import type { DecodeResult, DecodeStep, LanguageModel } from '../generation/language-model.ts';
import { linearWithoutBias } from '../layers.ts';
import { child, type Module, pathOf, weight, within } from '../module.ts';
import { quantizedLinear } from '../quantized-linear.ts';
import { type KeysAndValues, layerIndices, ofLayer } from './bert.ts';
import { readRange } from './decoder-positions.ts';
import { addAndNormalize } from './rms-norm.ts';
import { cacheLength, cacheOf } from './self-attention.ts';
import {
  attentionOutput,
  feedForward,
  innerWidth,
  normSizes,
  project,
  projectAll,
  projectedShape,
  streamOf,
  type T5Stream,
} from './t5-layers.ts';
import { decoderBias, encoderBias } from './t5-relative-bias.ts';

/** transformers' `T5ForConditionalGeneration` (models/t5/modeling_t5.py): an encoder, and a decoder as a language model. */

/** T5 does not scale the scores of attention: its weights were initialised for that. */
const SCALE = 1;

/** Names of the embedding: files have one of them, or several copies. */
const EMBEDDING = 'shared.weight';
const COPIES = ['encoder.embed_tokens.weight', 'decoder.embed_tokens.weight'];

/** [rows, tokens] → [rows, tokens, width]. */
export function embedT5(module: Module, { vocabularySize, hiddenSize }: T5Config, ids: Value<'int64'>): Value<Real> {
  const tiedTo = COPIES.map((name) => pathOf(module, name));
  return embeddingRows(module, EMBEDDING, [vocabularySize, hiddenSize], ids, { tiedTo });
}

/** Texts that an encoder has read. */
export interface EncodedTexts {
  /** [rows * length, width]; arbitrary at padding. */
  readonly states: Value<Real>;
  /** [1] */
  readonly rowCount: Value<'int64'>;
  /** [rows, 1, 1, length]: the lowest number at padding, else zero. */
  readonly padding: Value<Real>;
}

/**
 * The encoder. Nothing looks at padding, so a row is what it would be alone.
 * @param module `language_model`.
 * @param embeddings [rows, length, width], padded on the right.
 * @param length [rows]
 * @throws CheckpointError when a tensor is missing or has another shape than the configuration says.
 */
export function t5Encoder(
  module: Module,
  config: T5Config,
  embeddings: Value<Real>,
  length: Value<'int64'>,
): EncodedTexts {
  const encoder = child(module, 'encoder');
  const { op } = encoder;
  const rowCount = op.dimension(embeddings, 0);
  const padding = hidePadding(encoder, embeddings, length);
  const bias = op.add(encoderBias(encoder, config, op.dimension(embeddings, 1)), padding); // [rows, heads, queries, keys]
  const shape = projectedShape(encoder, config, rowCount, -1);
  const blocks = Array.from({ length: config.encoderLayerCount }, (_, index) => child(encoder, `block.${index}`));
  const stream = blocks.reduce(
    (before, block) => encoderBlock(block, config, before, { bias, shape }),
    streamOf(encoder, config, embeddings),
  );
  return {
    states: addAndNormalize(child(encoder, 'final_layer_norm'), normSizes(config), stream).normalized,
    rowCount,
    padding,
  };
}

/** [rows, 1, 1, keys]. CUDA has no Where in every precision, and so this casts its result. */
function hidePadding({ op, precision }: Module, keys: Value<Real>, length: Value<'int64'>): Value<Real> {
  const positions = op.unsqueeze(op.indices(keys, 1), [0, 1, 2]); // [1, 1, 1, keys]
  const isText = op.less(positions, op.unsqueeze(length, [1, 2, 3]));
  return op.cast(op.where(isText, op.constant('float32', 0), lowestFinite[precision]), precision);
}

function encoderBlock(
  block: Module,
  config: T5Config,
  stream: T5Stream,
  { bias, shape }: { readonly bias: Value<Real>; readonly shape: TargetShape },
): T5Stream {
  const attention = child(block, 'layer.0.SelfAttention');
  const { sum, normalized } = addAndNormalize(child(block, 'layer.0.layer_norm'), normSizes(config), stream);
  const inputs = { ...projectAll(attention, config, normalized, shape), bias, scale: SCALE };
  const attended = attention.op.microsoft.multiHeadAttention(inputs, config.headCount);
  const added = attentionOutput(attention, config, attended);
  return feedForwardLayer(child(block, 'layer.1'), config, { residual: sum, added });
}

function feedForwardLayer(layer: Module, config: T5Config, stream: T5Stream): T5Stream {
  const { sum, normalized } = addAndNormalize(child(layer, 'layer_norm'), normSizes(config), stream);
  return { residual: sum, added: feedForward(child(layer, 'DenseReluDense'), config, normalized) };
}

/** Keys and values that the decoder's layers look at beside the text that it writes. */
export interface T5CrossStates {
  /** [rows, heads, length, head size], for each layer. */
  readonly layers: readonly KeysAndValues[];
  readonly rowCount: Value<'int64'>;
  readonly padding: Value<Real>;
}

/** Keys and values of each row's encoded text: computed once, for all tokens and all sequences of the row. */
export function t5CrossStates(
  module: Module,
  config: T5Config,
  { states, rowCount, padding }: EncodedTexts,
): T5CrossStates {
  const layers = layerIndices(config).map((index) => {
    const attention = child(module, `decoder.block.${index}.layer.1.EncDecAttention`);
    const { op } = attention;
    const heads = (name: 'k' | 'v') => {
      const projected = linearWithoutBias(child(attention, name), states, config.hiddenSize, innerWidth(config));
      return op.transpose(op.reshape(projected, [rowCount, -1, config.headCount, config.headSize]), [0, 2, 1, 3]);
    };
    return { keys: heads('k'), values: heads('v') };
  });
  return { layers, rowCount, padding };
}

type T5Cache = readonly KeysAndValues[];

/**
 * The decoder. It begins with one token, `config.startTokenId`, in every row.
 * @param module `language_model`.
 * @param perRow how many sequences a row has: in greedy search, `one`.
 * @throws CheckpointError as `t5Encoder` does.
 */
export function t5LanguageModel(
  module: Module,
  config: T5Config,
  cross: T5CrossStates,
  perRow: 'one' | 'any' = 'any',
): LanguageModel<T5Cache> {
  return {
    embed: (scope, tokenIds) => embedT5(within(module, scope), config, tokenIds),
    emptyCache: (scope, sequenceCount) => emptyCache(scope, module, config, sequenceCount),
    cacheLength: (scope, cache) => cacheLength(scope, ofLayer(cache, 0)),
    select: cacheOf,
    decode: (scope, step) =>
      decode(within(module, scope), config, step, (decoder) =>
        perRow === 'one' ? seenByOne(decoder, config, cross) : seenByAny(decoder, config, cross, step.embeddings),
      ),
    endTokenIds: config.endTokenIds,
    padTokenId: config.padTokenId,
  };
}

function emptyCache({ op }: Scope, { precision }: Module, config: T5Config, sequenceCount: Value<'int64'>): T5Cache {
  const empty = op.fill(precision, 0, [sequenceCount, config.headCount, 0, config.headSize]);
  return layerIndices(config).map(() => ({ keys: empty, values: empty }));
}

/**
 * Everything that a step's sequences look at. Those of a row stand side by side, and look at its encoded text as so many
 * queries.
 */
interface SeenByStep {
  readonly layers: readonly KeysAndValues[];
  /** [rows, 1, sequences of a row, length] */
  readonly bias: Value<Real>;
  /** The shape [rows, sequences of a row, inner width]. */
  readonly shape: TargetShape;
}

function seenByOne(decoder: Module, config: T5Config, { layers, padding }: T5CrossStates): SeenByStep {
  return { layers, bias: padding, shape: projectedShape(decoder, config, -1, 1) };
}

function seenByAny(
  decoder: Module,
  config: T5Config,
  { layers, padding, rowCount }: T5CrossStates,
  embeddings: Value<Real>,
): SeenByStep {
  const { op } = decoder;
  const perRow = op.div(op.dimension(embeddings, 0), rowCount);
  const bias = op.expand(padding, [1, 1, perRow, 1]);
  return { layers, bias, shape: projectedShape(decoder, config, rowCount, -1) };
}

function decode(
  module: Module,
  config: T5Config,
  { embeddings, cache }: DecodeStep<T5Cache>,
  seenBy: (decoder: Module) => SeenByStep,
): DecodeResult<T5Cache> {
  const decoder = child(module, 'decoder');
  const { end: keyCount } = readRange(decoder, cacheLength(decoder, ofLayer(cache, 0)), embeddings);
  const bias = decoderBias(decoder, config, keyCount);
  const seen = seenBy(decoder);
  let stream = streamOf(decoder, config, embeddings);
  const present = layerIndices(config).map((index) => {
    const block = child(decoder, `block.${index}`);
    const attended = attendToText(child(block, 'layer.0'), config, stream, { bias, past: ofLayer(cache, index) });
    const crossed = attendToEncoded(child(block, 'layer.1'), config, attended.stream, seen, index);
    stream = feedForwardLayer(child(block, 'layer.2'), config, crossed);
    return attended.present;
  });
  return { logits: head(module, config, stream), cache: present };
}

/** Self-attention of the newest token of each sequence. */
function attendToText(
  layer: Module,
  config: T5Config,
  stream: T5Stream,
  { bias, past }: { readonly bias: Value<Real>; readonly past: KeysAndValues },
): { readonly stream: T5Stream; readonly present: KeysAndValues } {
  const attention = child(layer, 'SelfAttention');
  const { sum, normalized } = addAndNormalize(child(layer, 'layer_norm'), normSizes(config), stream);
  const shape = projectedShape(attention, config, -1, 1);
  const inputs = { ...projectAll(attention, config, normalized, shape), bias, scale: SCALE };
  const { output, presentKey, presentValue } = attention.op.microsoft.cachedMultiHeadAttention(
    { ...inputs, pastKey: past.keys, pastValue: past.values },
    config.headCount,
  );
  const added = attentionOutput(attention, config, output);
  return { stream: { residual: sum, added }, present: { keys: presentKey, values: presentValue } };
}

/** Cross-attention. */
function attendToEncoded(
  layer: Module,
  config: T5Config,
  stream: T5Stream,
  { layers, bias, shape }: SeenByStep,
  index: number,
): T5Stream {
  const attention = child(layer, 'EncDecAttention');
  const { sum, normalized } = addAndNormalize(child(layer, 'layer_norm'), normSizes(config), stream);
  const query = project(attention, 'q', config, normalized, shape);
  const { keys: key, values: value } = ofLayer(layers, index);
  const inputs = { query, key, value, bias, scale: SCALE };
  const attended = attention.op.microsoft.multiHeadAttention(inputs, config.headCount);
  return { residual: sum, added: attentionOutput(attention, config, attended) };
}

/** The last norm and `lm_head`. A head that the file has wins over the embedding, whatever config.json says. */
function head(module: Module, config: T5Config, stream: T5Stream): Value<'float32'> {
  const { hiddenSize, vocabularySize, scalesOutput } = config;
  const { op } = child(module, 'decoder');
  const { normalized } = addAndNormalize(child(module, 'decoder.final_layer_norm'), normSizes(config), stream);
  const states = scalesOutput ? op.mul(normalized, 1 / Math.sqrt(hiddenSize)) : normalized;
  const output = child(module, 'lm_head');
  const quantized = quantizedLinear(output, states, { inputSize: hiddenSize, outputSize: vocabularySize });
  if (quantized !== undefined) return quantized;
  const tiedTo = [EMBEDDING, ...COPIES].map((name) => pathOf(module, name));
  const matrix = weight(output, 'weight', [vocabularySize, hiddenSize], { tiedTo });
  return output.op.cast(output.op.gemm(states, matrix), 'float32');
}
