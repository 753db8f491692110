import type { TextConfig } from '../../checkpoint/config/blip-config.ts';
import type { Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import type { TargetShape } from '../../onnx/operators.ts';
import type { Scope } from '../../onnx/scope.ts';
import { type AttentionPositions, causalBias } from '../attention-bias.ts';
import { activate, asRows, layerNorm, linear, queryKeyValue } from '../layers.ts';
import { child, type Module, weight } from '../module.ts';
import { quantizedLinear } from '../quantized-linear.ts';
import type { RowsByImage } from '../rows-by-image.ts';
import {
  addPositions,
  attentionOutput,
  type CrossAttentionState,
  crossAttention,
  embedWords,
  feedForwardBlock,
  headSize,
  type KeysAndValues,
  layerIndices,
  ofLayer,
} from './bert.ts';

export interface DecoderInputs {
  /** [rows, tokens, hidden], from `embedText`: the tokens that are new in this step. */
  readonly embeddings: Value<Real>;
  /** [rows]: how many tokens of padding stand before the first token of each row. */
  readonly paddingLength: Value<'int64'>;
  /** Self-attention cache of each layer; its length is 0 in the first step. */
  readonly past: readonly KeysAndValues[];
  /** Cross-attention keys and values of each layer, from `crossAttentionStates`. */
  readonly cross: readonly CrossAttentionState[];
  readonly rowsByImage: RowsByImage;
}

/** A cache that holds nothing yet. */
export function emptyCache(
  { op }: Scope,
  config: TextConfig,
  rowCount: Value<'int64'>,
  precision: Real,
): readonly KeysAndValues[] {
  const empty = op.fill(precision, 0, [rowCount, config.headCount, 0, headSize(config)]);
  return layerIndices(config).map(() => ({ keys: empty, values: empty }));
}

/** [rows, tokens] → [rows, tokens, hidden]. The matrix is tied to that of the head where a checkpoint stores only one. */
export function embedText(decoder: Module, config: TextConfig, inputIds: Value<'int64'>): Value<Real> {
  return embedWords(child(decoder, 'bert'), config, inputIds, [`${decoder.op.path}.cls.predictions.decoder.weight`]);
}

/**
 * One step of transformers' `BlipTextLMHeadModel` with `is_decoder=True` (models/blip/modeling_blip_text.py).
 * @returns the logits [rows, vocabulary] of the last token, and the cache with the new tokens appended.
 */
export function textDecoder(
  decoder: Module,
  config: TextConfig,
  inputs: DecoderInputs,
): { readonly logits: Value<'float32'>; readonly present: readonly KeysAndValues[] } {
  const { hidden, rowShape, present } = textDecoderStates(decoder, config, inputs);
  const { op } = decoder;
  // Only the last token of each row is scored: [rows * tokens, hidden] → [rows, hidden].
  const last = op.gather(op.reshape(hidden, rowShape), -1, 1);
  return { logits: languageModelHead(decoder, config, last), present };
}

/**
 * The decoder without its head: `BlipTextModel`. Positions count from each row's first token and padding is never attended
 * to, so a row computes what it would alone.
 * @returns hidden states [rows * tokens, hidden], the shape [rows, -1, hidden], and the cache with the new tokens.
 */
export function textDecoderStates(
  decoder: Module,
  config: TextConfig,
  inputs: DecoderInputs,
): {
  readonly hidden: Value<Real>;
  readonly rowShape: TargetShape;
  readonly present: readonly KeysAndValues[];
} {
  const { op } = decoder;
  const { embeddings, past } = inputs;
  const positions = tokenPositions(decoder, inputs);
  const bias = causalBias(decoder, positions, inputs.paddingLength);
  const rowShape = op.shape([op.dimension(embeddings, 0), -1, config.hiddenSize]);
  let hidden = embed(decoder, config, inputs, positions.queries);
  const present = layerIndices(config).map((index) => {
    const layer = child(decoder, `bert.encoder.layer.${index}`);
    const cache = ofLayer(past, index);
    const attended = selfAttention(child(layer, 'attention'), config, hidden, {
      bias,
      cache,
      rowShape,
    });
    const crossed = crossAttention(
      child(layer, 'crossattention'),
      config,
      attended.hidden,
      ofLayer(inputs.cross, index),
      inputs.rowsByImage,
    );
    hidden = feedForwardBlock(layer, config, crossed);
    return attended.present;
  });
  return { hidden, rowShape, present };
}

function tokenPositions({ op }: Scope, inputs: DecoderInputs): AttentionPositions {
  const [firstLayer] = inputs.past;
  if (firstLayer === undefined) throw new RangeError('Expected a text model of at least one layer.');
  const pastLength = op.squeeze(op.dimension(firstLayer.keys, 2), [0]);
  const length = op.add(pastLength, op.squeeze(op.dimension(inputs.embeddings, 1), [0]));
  const one = op.constant('int64', 1);
  return { queries: op.range(pastLength, length, one), keys: op.range(0, length, one) };
}

/** Positions count from each row's first token. */
function embed(decoder: Module, config: TextConfig, inputs: DecoderInputs, positions: Value<'int64'>): Value<Real> {
  const bert = child(decoder, 'bert');
  const { op } = child(bert, 'embeddings');
  const { embeddings, paddingLength } = inputs;
  const fromFirstToken = op.sub(op.unsqueeze(positions, [0]), op.unsqueeze(paddingLength, [1])); // [rows, tokens]
  const positionIds = op.max(fromFirstToken, [0]);
  return addPositions(bert, config, embeddings, positionIds);
}

function selfAttention(
  module: Module,
  config: TextConfig,
  x: Value<Real>,
  context: { readonly bias: Value<Real>; readonly cache: KeysAndValues; readonly rowShape: TargetShape },
): { readonly hidden: Value<Real>; readonly present: KeysAndValues } {
  const { hiddenSize } = config;
  const attention = child(module, 'self');
  const projected = queryKeyValue(attention, ['query', 'key', 'value'], x, hiddenSize, context.rowShape);
  const { keys: pastKey, values: pastValue } = context.cache;
  const { output, presentKey, presentValue } = attention.op.microsoft.cachedMultiHeadAttention(
    { ...projected, bias: context.bias, pastKey, pastValue },
    config.headCount,
  );
  const hidden = attentionOutput(module, config, asRows(attention, output, hiddenSize), x);
  return { hidden, present: { keys: presentKey, values: presentValue } };
}

/**
 * `BlipTextOnlyMLMHead`. The matrix is tied to the word embeddings where a checkpoint stores only those. Of the two
 * names of the bias, `decoder.bias` is the one transformers computes with when a file has both.
 */
export function languageModelHead(decoder: Module, config: TextConfig, hidden: Value<Real>): Value<'float32'> {
  const { hiddenSize, vocabularySize, layerNormEpsilon } = config;
  const predictions = child(decoder, 'cls.predictions');
  const transform = child(predictions, 'transform');
  const dense = activate(
    transform,
    linear(child(transform, 'dense'), hidden, hiddenSize, hiddenSize),
    config.activation,
  );
  const normalized = layerNorm(child(transform, 'LayerNorm'), dense, hiddenSize, layerNormEpsilon);
  const output = child(predictions, 'decoder');
  const bias = () => weight(output, 'bias', [vocabularySize], { tiedTo: [`${predictions.op.path}.bias`] });
  const sizes = { inputSize: hiddenSize, outputSize: vocabularySize };
  const quantized = quantizedLinear(output, normalized, sizes, bias);
  if (quantized !== undefined) return quantized;
  const matrix = weight(output, 'weight', [vocabularySize, hiddenSize], {
    tiedTo: [`${decoder.op.path}.bert.embeddings.word_embeddings.weight`],
  });
  return output.op.cast(output.op.gemm(normalized, matrix, bias()), 'float32');
}
