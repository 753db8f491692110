import type { TextConfig } from '../../checkpoint/config/blip-config.ts';
import type { Activation } from '../../checkpoint/config/vision-config.ts';
import type { Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import type { Scope } from '../../onnx/scope.ts';
import { queryBias } from '../joined-projections.ts';
import {
  activate,
  addResidualAndNormalize,
  asRows,
  LOWEST_ACTIVATION,
  layerNorm,
  linear,
  product,
  projectAndNormalize,
} from '../layers.ts';
import { child, type Module, weight } from '../module.ts';
import { type RowsByImage, toImages, toRows } from '../rows-by-image.ts';

/**
 * BERT with cross-attention: the parts that BLIP's text encoder and text decoder share (transformers'
 * models/blip/modeling_blip_text.py). `bert` is the module that holds `embeddings` and `encoder`.
 */

/** Keys and values of one attention module, [batch, heads, length, head size]. The first axis may be rows or sequences. */
export interface KeysAndValues {
  readonly keys: Value<Real>;
  readonly values: Value<Real>;
}

/** Keys and values that the cross-attention of one layer reads. */
export interface CrossAttentionState extends KeysAndValues {
  /** [batch, 1, 1, length]: zero where it may look, the lowest number at padding; absent where there is none. */
  readonly bias?: Value<Real>;
}

/** The heads of an attention, and the width of what they return together. */
interface AttentionSizes {
  readonly hiddenSize: number;
  readonly headCount: number;
}

/** Sizes of a layer of BERT. */
export interface BertSizes extends AttentionSizes {
  readonly intermediateSize: number;
  readonly layerNormEpsilon: number;
  readonly activation: Activation;
}

export function layerIndices(config: { readonly layerCount: number }): readonly number[] {
  return Array.from({ length: config.layerCount }, (_, index) => index);
}

export function headSize(config: AttentionSizes): number {
  return config.hiddenSize / config.headCount;
}

/** Layer `index` of a list that has one element for each. */
export function ofLayer<T>(layers: readonly T[], index: number): T {
  const layer = layers[index];
  if (layer === undefined) throw new RangeError(`Expected something for layer ${index}, got ${layers.length} layers.`);
  return layer;
}

/**
 * Keys and values that every row's cross-attention reads: computed once, before the text is read.
 * @param states [batch * length, width]: image embeddings, or the hidden states of a question.
 * @param size of `states`: its width, and how many vectors each member of the batch has.
 */
export function crossAttentionStates(
  bert: Module,
  config: TextConfig,
  states: Value<Real>,
  size: { readonly width: number; readonly length: number | Value<'int64'> },
): readonly KeysAndValues[] {
  return layerIndices(config).map((index) => {
    const attention = child(bert, `encoder.layer.${index}.crossattention.self`);
    return keysAndValues(attention, config, states, size);
  });
}

/**
 * Keys and values of one layer, from the Linears `key` and `value`.
 * @param states and `size` as of `crossAttentionStates`.
 */
export function keysAndValues(
  attention: Module,
  config: AttentionSizes,
  states: Value<Real>,
  size: { readonly width: number; readonly length: number | Value<'int64'> },
): KeysAndValues {
  const { op } = attention;
  const shape = op.shape([-1, size.length, config.headCount, headSize(config)]);
  const project = (name: string) => {
    const projected = linear(child(attention, name), states, size.width, config.hiddenSize);
    return op.transpose(op.reshape(projected, shape), [0, 2, 1, 3]);
  };
  return { keys: project('key'), values: project('value') };
}

/**
 * The first half of `BlipTextEmbeddings`: [rows, tokens] → [rows, tokens, hidden].
 * @param tiedTo where the matrix may be stored instead.
 */
export function embedWords(
  bert: Module,
  { hiddenSize, vocabularySize }: TextConfig,
  inputIds: Value<'int64'>,
  tiedTo: readonly string[] = [],
): Value<Real> {
  const module = child(bert, 'embeddings');
  const words = weight(module, 'word_embeddings.weight', [vocabularySize, hiddenSize], { tiedTo });
  return module.op.gather(words, inputIds, 0);
}

/**
 * The second half of `BlipTextEmbeddings`: positions and the norm.
 * @param words [rows, tokens, hidden].
 * @param positionIds [rows or 1, tokens].
 * @returns [rows * tokens, hidden].
 */
export function addPositions(
  bert: Module,
  config: TextConfig,
  words: Value<Real>,
  positionIds: Value<'int64'>,
): Value<Real> {
  const { hiddenSize } = config;
  const module = child(bert, 'embeddings');
  const { op } = module;
  const positions = positionEmbeddings(bert, config);
  if (module.form === 'lean') {
    const skip = op.gather(positions, positionIds, 0);
    return asRows(module, leanEmbeddingNorm(module, config, words, skip), hiddenSize);
  }
  const embedded = op.add(words, op.gather(positions, positionIds, 0));
  const rows = asRows(module, embedded, hiddenSize);
  return layerNorm(child(module, 'LayerNorm'), rows, hiddenSize, config.layerNormEpsilon);
}

/**
 * `addPositions` of positions that stand side by side.
 * @param range the first position, and the one after the last: [1] each.
 * @param ofRows the embeddings of each row's positions, [rows, positions, hidden], where rows have several.
 */
export function addPositionRange(
  bert: Module,
  config: TextConfig,
  words: Value<Real>,
  range: { readonly first: Value<'int64'>; readonly end: Value<'int64'> },
  ofRows?: Value<Real>,
): Value<Real> {
  const module = child(bert, 'embeddings');
  const slice = (positions: Value<Real>, axis: number) => module.op.slice(positions, range.first, range.end, [axis]);
  const skip =
    ofRows === undefined ? module.op.unsqueeze(slice(positionEmbeddings(bert, config), 0), [0]) : slice(ofRows, 1);
  return asRows(module, leanEmbeddingNorm(module, config, words, skip), config.hiddenSize);
}

/** [positions, hidden] */
export function positionEmbeddings(bert: Module, { hiddenSize, maxPositions }: TextConfig): Value<Real> {
  return weight(child(bert, 'embeddings'), 'position_embeddings.weight', [maxPositions, hiddenSize]);
}

function leanEmbeddingNorm(
  module: Module,
  config: TextConfig,
  words: Value<Real>,
  positions: Value<Real>,
): Value<Real> {
  return addResidualAndNormalize(child(module, 'LayerNorm'), positions, { value: words }, config);
}

/** The projection after attention, the residual and the norm: `BlipTextSelfOutput`. */
export function attentionOutput(
  module: Module,
  config: BertSizes,
  attended: Value<Real>,
  residual: Value<Real>,
): Value<Real> {
  const { hiddenSize, layerNormEpsilon } = config;
  return projectAndNormalize(child(module, 'output'), attended, residual, {
    inputSize: hiddenSize,
    hiddenSize,
    layerNormEpsilon,
  });
}

/** @param rows which rows of `x` look at which member of `state`'s batch. */
export function crossAttention(
  module: Module,
  config: TextConfig,
  x: Value<Real>,
  state: CrossAttentionState,
  rows: RowsByImage,
): Value<Real> {
  const attention = child(module, 'self');
  const attended = lookAtImages(attention, config, x, state, rows);
  return attentionOutput(module, config, toRows(attention, rows, attended), x);
}

/**
 * Cross-attention before its output's Linear.
 * @param attention holds the Linear `query`.
 * @param x [rows * n, hidden].
 * @returns [images, slots * n, hidden], which `toRows` and `byRow` bring back into the order of the rows.
 */
export function lookAtImages(
  attention: Module,
  { hiddenSize, headCount }: AttentionSizes,
  x: Value<Real>,
  state: CrossAttentionState,
  rows: RowsByImage,
): Value<Real> {
  const projection = child(attention, 'query');
  const projected = product(projection, x, hiddenSize, hiddenSize);
  const query = toImages(attention, rows, projected.value);
  const bias = state.bias === undefined ? undefined : biasOfQueries(attention, state.bias, query);
  return attention.op.microsoft.multiHeadAttention(
    {
      query,
      key: state.keys,
      value: state.values,
      ...(bias === undefined ? {} : { bias }),
      ...(projected.bias === undefined ? {} : { projectionBias: queryBias(projection, hiddenSize) }),
    },
    headCount,
  );
}

/** The runtime does not repeat a bias along the queries: [batch, 1, 1, keys] → [batch, 1, queries, keys]. */
function biasOfQueries({ op }: Scope, bias: Value<Real>, query: Value<Real>): Value<Real> {
  return op.expand(bias, [1, 1, op.dimension(query, 1), 1]);
}

/** `BlipTextIntermediate` and `BlipTextOutput`, or modules that are as they are under other names. */
export function feedForwardBlock(
  layer: Module,
  config: BertSizes,
  x: Value<Real>,
  names: { readonly intermediate: string; readonly output: string } = {
    intermediate: 'intermediate',
    output: 'output',
  },
): Value<Real> {
  const { hiddenSize, intermediateSize, layerNormEpsilon } = config;
  const intermediate = child(layer, names.intermediate);
  const widened = activate(
    intermediate,
    product(child(intermediate, 'dense'), x, hiddenSize, intermediateSize),
    config.activation,
  );
  return projectAndNormalize(child(layer, names.output), widened, x, {
    inputSize: intermediateSize,
    hiddenSize,
    layerNormEpsilon,
    lowest: LOWEST_ACTIVATION,
  });
}
