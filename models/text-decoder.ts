import type { TextConfig } from '../checkpoint/blip-config.ts';
import { float32, int64, int64s } from '../onnx/constants.ts';
import type { Scope, Value } from '../onnx/graph.ts';
import { cachedMultiHeadAttention, multiHeadAttention } from '../onnx/microsoft-operators.ts';
import * as op from '../onnx/operators.ts';
import { activate, layerNorm, linear, projectAndNormalize } from './layers.ts';
import { child, type Module, weight } from './module.ts';
import { type RowsByImage, toImages, toRows } from './rows-by-image.ts';

/** `torch.finfo(torch.float32).min`: added to a score, it leaves a probability of exactly zero. */
const MASKED = -3.4028234663852886e38;

/** Keys and values of one attention module, [batch, heads, length, head size]. */
export interface KeysAndValues {
  readonly keys: Value<'float32'>;
  readonly values: Value<'float32'>;
}

export interface DecoderInputs {
  /** [rows, tokens]: the tokens that are new in this step. */
  readonly inputIds: Value<'int64'>;
  /** [rows]: how many tokens of padding stand before the first token of each row. */
  readonly paddingLength: Value<'int64'>;
  /** Self-attention cache of each layer; its length is 0 in the first step. */
  readonly past: readonly KeysAndValues[];
  /** Cross-attention keys and values of each layer, from `crossAttentionStates`. */
  readonly cross: readonly KeysAndValues[];
  readonly rowsByImage: RowsByImage;
}

/**
 * Keys and values that every row's cross-attention reads: computed once per image, before decoding.
 * @param imageEmbeds [images * tokens, encoder width].
 */
export function crossAttentionStates(
  decoder: Module,
  config: TextConfig,
  imageEmbeds: Value<'float32'>,
  imageTokens: number,
): readonly KeysAndValues[] {
  return layerIndices(config).map((index) => {
    const attention = child(decoder, `bert.encoder.layer.${index}.crossattention.self`);
    const project = (name: string) => {
      const projected = linear(child(attention, name), imageEmbeds, config.encoderHiddenSize, config.hiddenSize);
      const heads = op.reshape(attention, projected, [-1, imageTokens, config.headCount, headSize(config)]);
      return op.transpose(attention, heads, [0, 2, 1, 3]);
    };
    return { keys: project('key'), values: project('value') };
  });
}

/** A cache that holds nothing yet. */
export function emptyCache(scope: Scope, config: TextConfig, rowCount: Value<'int64'>): readonly KeysAndValues[] {
  const empty = op.expand(scope, float32(scope, 0), [rowCount, config.headCount, 0, headSize(config)]);
  return layerIndices(config).map(() => ({ keys: empty, values: empty }));
}

/**
 * One step of transformers' `BlipTextLMHeadModel` with `is_decoder=True` (models/blip/modeling_blip_text.py).
 * Positions count from each row's first token and padding is never attended to, so a row computes what it would alone.
 * @returns the logits [rows, vocabulary] of the last token, and the cache with the new tokens appended.
 */
export function textDecoder(
  decoder: Module,
  config: TextConfig,
  inputs: DecoderInputs,
): { readonly logits: Value<'float32'>; readonly present: readonly KeysAndValues[] } {
  const { inputIds, past } = inputs;
  const positions = tokenPositions(decoder, inputs);
  const bias = attentionBias(decoder, inputs.paddingLength, positions);
  const rowShape = op.shape(decoder, [op.dimension(decoder, inputIds, 0), -1, config.hiddenSize]);
  let hidden = embed(decoder, config, inputs, positions.queries);
  const present = layerIndices(config).map((index) => {
    const layer = child(decoder, `bert.encoder.layer.${index}`);
    const cache = pastOfLayer(past, index);
    const attended = selfAttention(child(layer, 'attention'), config, hidden, {
      bias,
      cache,
      rowShape,
    });
    const crossed = crossAttention(
      child(layer, 'crossattention'),
      config,
      attended.hidden,
      pastOfLayer(inputs.cross, index),
      inputs.rowsByImage,
    );
    hidden = feedForwardBlock(layer, config, crossed);
    return attended.present;
  });
  // Only the last token of each row is scored: [rows * tokens, hidden] → [rows, hidden].
  const last = op.gather(decoder, op.reshapeTo(decoder, hidden, rowShape), int64(decoder, -1), 1);
  return { logits: languageModelHead(decoder, config, last), present };
}

function layerIndices(config: TextConfig): readonly number[] {
  return Array.from({ length: config.layerCount }, (_, index) => index);
}

function headSize(config: TextConfig): number {
  return config.hiddenSize / config.headCount;
}

function pastOfLayer(past: readonly KeysAndValues[], index: number): KeysAndValues {
  const layer = past[index];
  if (layer === undefined)
    throw new RangeError(`Expected keys and values of layer ${index}, got ${past.length} layers.`);
  return layer;
}

interface Positions {
  /** [tokens]: places of the new tokens, padding included. */
  readonly queries: Value<'int64'>;
  /** [past + tokens]: places of all tokens so far. */
  readonly keys: Value<'int64'>;
}

function tokenPositions(scope: Scope, inputs: DecoderInputs): Positions {
  const [firstLayer] = inputs.past;
  if (firstLayer === undefined) throw new RangeError('Expected a text model of at least one layer.');
  const pastLength = op.squeeze(scope, op.dimension(scope, firstLayer.keys, 2), [0]);
  const length = op.add(scope, pastLength, op.squeeze(scope, op.dimension(scope, inputs.inputIds, 1), [0]));
  const one = int64(scope, 1);
  return { queries: op.range(scope, pastLength, length, one), keys: op.range(scope, int64(scope, 0), length, one) };
}

/** [rows, 1, tokens, past + tokens]: zero where a token may look, `MASKED` at later tokens and at padding. */
function attentionBias(scope: Scope, paddingLength: Value<'int64'>, positions: Positions): Value<'float32'> {
  const keys = op.unsqueeze(scope, positions.keys, [0, 1, 2]); // [1, 1, 1, keys]
  const later = op.greater(scope, keys, op.unsqueeze(scope, positions.queries, [0, 1, 3])); // [1, 1, queries, keys]
  const padding = op.less(scope, keys, op.unsqueeze(scope, paddingLength, [1, 2, 3])); // [rows, 1, 1, keys]
  return op.where(scope, op.or(scope, later, padding), float32(scope, MASKED), float32(scope, 0));
}

function embed(
  decoder: Module,
  config: TextConfig,
  inputs: DecoderInputs,
  positions: Value<'int64'>,
): Value<'float32'> {
  const { hiddenSize, vocabularySize, maxPositions } = config;
  const { inputIds, paddingLength } = inputs;
  const module = child(decoder, 'bert.embeddings');
  const words = weight(module, 'word_embeddings.weight', [vocabularySize, hiddenSize], {
    tiedTo: [`${decoder.path}.cls.predictions.decoder.weight`],
  });
  const fromFirstToken = op.sub(module, op.unsqueeze(module, positions, [0]), op.unsqueeze(module, paddingLength, [1])); // [rows, tokens]
  const positionIds = op.max(module, fromFirstToken, int64s(module, [0]));
  const positionEmbeddings = weight(module, 'position_embeddings.weight', [maxPositions, hiddenSize]);
  const embedded = op.add(
    module,
    op.gather(module, words, inputIds, 0),
    op.gather(module, positionEmbeddings, positionIds, 0),
  );
  const rows = op.reshape(module, embedded, [-1, hiddenSize]);
  return layerNorm(child(module, 'LayerNorm'), rows, hiddenSize, config.layerNormEpsilon);
}

function selfAttention(
  module: Module,
  config: TextConfig,
  x: Value<'float32'>,
  context: { readonly bias: Value<'float32'>; readonly cache: KeysAndValues; readonly rowShape: Value<'int64'> },
): { readonly hidden: Value<'float32'>; readonly present: KeysAndValues } {
  const { hiddenSize, layerNormEpsilon } = config;
  const attention = child(module, 'self');
  const project = (name: string) => {
    const projected = linear(child(attention, name), x, hiddenSize, hiddenSize);
    return op.reshapeTo(attention, projected, context.rowShape); // [rows, tokens, hidden]
  };
  const { output, presentKey, presentValue } = cachedMultiHeadAttention(
    attention,
    {
      query: project('query'),
      key: project('key'),
      value: project('value'),
      bias: context.bias,
      pastKey: context.cache.keys,
      pastValue: context.cache.values,
    },
    config.headCount,
  );
  const attended = op.reshape(attention, output, [-1, hiddenSize]);
  const hidden = projectAndNormalize(child(module, 'output'), attended, x, {
    inputSize: hiddenSize,
    hiddenSize,
    layerNormEpsilon,
  });
  return { hidden, present: { keys: presentKey, values: presentValue } };
}

function crossAttention(
  module: Module,
  config: TextConfig,
  x: Value<'float32'>,
  image: KeysAndValues,
  rows: RowsByImage,
): Value<'float32'> {
  const { hiddenSize, layerNormEpsilon } = config;
  const attention = child(module, 'self');
  const query = toImages(attention, rows, linear(child(attention, 'query'), x, hiddenSize, hiddenSize));
  const attended = multiHeadAttention(attention, { query, key: image.keys, value: image.values }, config.headCount);
  return projectAndNormalize(child(module, 'output'), toRows(attention, rows, attended), x, {
    inputSize: hiddenSize,
    hiddenSize,
    layerNormEpsilon,
  });
}

function feedForwardBlock(layer: Module, config: TextConfig, x: Value<'float32'>): Value<'float32'> {
  const { hiddenSize, intermediateSize, layerNormEpsilon } = config;
  const intermediate = child(layer, 'intermediate');
  const widened = activate(
    intermediate,
    linear(child(intermediate, 'dense'), x, hiddenSize, intermediateSize),
    config.activation,
  );
  return projectAndNormalize(child(layer, 'output'), widened, x, {
    inputSize: intermediateSize,
    hiddenSize,
    layerNormEpsilon,
  });
}

/**
 * `BlipTextOnlyMLMHead`. The matrix is tied to the word embeddings where a checkpoint stores only those. Of the two
 * names of the bias, `decoder.bias` is the one transformers computes with when a file has both.
 */
function languageModelHead(decoder: Module, config: TextConfig, hidden: Value<'float32'>): Value<'float32'> {
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
  return op.gemm(
    output,
    normalized,
    weight(output, 'weight', [vocabularySize, hiddenSize], {
      tiedTo: [`${decoder.path}.bert.embeddings.word_embeddings.weight`],
    }),
    weight(output, 'bias', [vocabularySize], { tiedTo: [`${predictions.path}.bias`] }),
  );
}
