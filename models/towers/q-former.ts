import type { QFormerConfig } from '../../checkpoint/config/qformer-config.ts';
import type { Real } from '../../onnx/element-type.ts';
import { uniqueName, type Value } from '../../onnx/graph.ts';
import {
  attentionOutput,
  type CrossAttentionState,
  feedForwardBlock,
  keysAndValues,
  layerIndices,
  lookAtImages,
} from '../language-models/bert.ts';
import { layerNorm } from '../layers.ts';
import { child, type Module, weight } from '../module.ts';
import { byRow, type RowsByImage } from '../rows-by-image.ts';
import { type BidirectionalContext, bidirectionalAttention, hidePadding } from './bidirectional-attention.ts';

/**
 * The Q-Former of BLIP-2: BERT whose query vectors look at an image. Query vectors and words see each other; only query
 * vectors look at images, and they have feed-forward blocks of their own.
 */

/** Rows of query vectors, of words, or of both: the query vectors stand before the words. */
export interface QFormerInputs {
  /** [rows, queries + words, hidden], before the norm: `queryEmbeddings`, `wordEmbeddings`, or both side by side. */
  readonly embeddings: Value<Real>;
  /** The LayerNorm over `embeddings`: `layernorm`, or `embeddings.layernorm` of InstructBLIP. */
  readonly norm: Module;
  /** 0 where there are words alone. */
  readonly queryCount: number;
  /** [rows]: how many words of each row are not padding, which is on the right; absent where there are no words. */
  readonly textLength?: Value<'int64'>;
  /** The images that query vectors look at; absent where they look at none. */
  readonly image?: QFormerImages;
}

export interface QFormerImages {
  /** Keys and values for each layer, from `qFormerCrossStates`. */
  readonly cross: QFormerCrossStates;
  readonly rowsByImage: RowsByImage;
}

/** `undefined` for a layer that has no cross-attention. */
export type QFormerCrossStates = readonly (CrossAttentionState | undefined)[];

/** Where modules of a layer stand whose names BERT has not. */
const ATTENTION = 'attention';
const queryBlock = { intermediate: 'intermediate_query', output: 'output_query' } as const;

/** `query_tokens` once for each row: [rows, queries, hidden]. */
export function queryEmbeddings(
  model: Module,
  { hiddenSize }: QFormerConfig,
  queryCount: number,
  rowCount: Value<'int64'>,
): Value<Real> {
  const queries = weight(model, 'query_tokens', [1, queryCount, hiddenSize]);
  return model.op.expand(queries, [rowCount, queryCount, hiddenSize]);
}

/**
 * Words and their positions, which count from 0, before the norm: [rows, length] → [rows, length, hidden].
 * @param embeddings the module that holds `word_embeddings` and `position_embeddings`.
 */
export function wordEmbeddings(embeddings: Module, config: QFormerConfig, inputIds: Value<'int64'>): Value<Real> {
  const { op } = embeddings;
  const { vocabularySize, maxPositions, hiddenSize } = config;
  const words = weight(embeddings, 'word_embeddings.weight', [vocabularySize, hiddenSize]);
  const positions = weight(embeddings, 'position_embeddings.weight', [maxPositions, hiddenSize]);
  return op.add(op.gather(words, inputIds, 0), op.gather(positions, op.indices(inputIds, 1), 0));
}

/**
 * Keys and values of the images, for each layer that looks at them: computed once for an image, whatever number of rows
 * ask about it.
 * @param states [images * tokens, width]: vision states.
 * @param tokenCount of one image.
 */
export function qFormerCrossStates(
  module: Module,
  config: QFormerConfig,
  states: Value<Real>,
  tokenCount: number,
): QFormerCrossStates {
  const size = { width: config.encoderHiddenSize, length: tokenCount };
  return layerIndices(config).map((index) => {
    if (index % config.crossAttentionFrequency !== 0) return undefined;
    const attention = child(module, `encoder.layer.${index}.crossattention.${ATTENTION}`);
    return keysAndValues(attention, config, states, size);
  });
}

/**
 * transformers' `Blip2QFormerModel` and `InstructBlipQFormerModel` (models/blip_2/modeling_blip_2.py). Nothing attends to
 * padding, so a row has the hidden states that it would have alone.
 * @param module `qformer`.
 * @returns of the last layer, the hidden states of the query vectors [rows * queries, hidden]; or those of the words
 * [rows * length, hidden] where there are no query vectors. Those at padding are arbitrary.
 * @throws CheckpointError when a tensor is missing or has another shape than the configuration says.
 */
export function qFormer(module: Module, config: QFormerConfig, inputs: QFormerInputs): Value<Real> {
  const { op } = module;
  const context = contextOf(module, config, inputs);
  const rows = op.reshapeNamed(inputs.embeddings, `${context.name}.rows`, [config.hiddenSize]);
  const embedded = layerNorm(inputs.norm, rows, config.hiddenSize, config.layerNormEpsilon);
  return layerIndices(config).reduce((hidden, index) => qFormerLayer(module, config, hidden, index, context), embedded);
}

/** Everything that each layer needs besides hidden states. */
interface LayerContext extends QFormerInputs, BidirectionalContext {
  /** A graph may use the Q-Former several times, for as many numbers of rows: each has a name of its own. */
  readonly name: string;
}

function contextOf(module: Module, config: QFormerConfig, inputs: QFormerInputs): LayerContext {
  const { op } = module;
  const { embeddings, queryCount, textLength } = inputs;
  const rowShape = op.shape([op.dimension(embeddings, 0), -1, config.hiddenSize]);
  const context = { ...inputs, rowShape, name: uniqueName(op.graph, `${op.graph.name}/${op.path}`) };
  if (textLength === undefined) return context;
  const length = queryCount === 0 ? textLength : op.add(textLength, queryCount);
  return { ...context, padding: hidePadding(module, embeddings, length, op.dimension(embeddings, 1)) };
}

/** [rows * (queries + words), hidden] → the same, or in the last layer without words behind query vectors. */
function qFormerLayer(
  module: Module,
  config: QFormerConfig,
  x: Value<Real>,
  index: number,
  context: LayerContext,
): Value<Real> {
  const layer = child(module, `encoder.layer.${index}`);
  const attended = selfAttention(child(layer, 'attention'), config, x, context);
  if (context.queryCount === 0) return feedForwardBlock(layer, config, attended);
  const update = (queries: Value<Real>) =>
    feedForwardBlock(layer, config, look(layer, config, queries, index, context), queryBlock);
  if (context.textLength === undefined) return update(attended);
  const { queries, words } = splitRows(layer, config, attended, context);
  if (index === config.layerCount - 1) return update(queries);
  return joinRows(layer, config, { queries: update(queries), words: feedForwardBlock(layer, config, words) }, context);
}

function selfAttention(module: Module, config: QFormerConfig, x: Value<Real>, context: LayerContext): Value<Real> {
  const attended = bidirectionalAttention(child(module, ATTENTION), config, x, context);
  const rows = module.op.reshapeNamed(attended, `${context.name}.rows`, [config.hiddenSize]);
  return attentionOutput(module, config, rows, x);
}

/** The cross-attention of the query vectors, where the layer has one and there are images. */
function look(
  layer: Module,
  config: QFormerConfig,
  queries: Value<Real>,
  index: number,
  { image, name }: LayerContext,
): Value<Real> {
  const state = image?.cross[index];
  if (image === undefined || state === undefined) return queries;
  const module = child(layer, 'crossattention');
  const seen = lookAtImages(child(module, ATTENTION), config, queries, state, image.rowsByImage);
  const rows = module.op.reshapeNamed(byRow(module, image.rowsByImage, seen), `${name}.queries`, [config.hiddenSize]);
  return attentionOutput(module, config, rows, queries);
}

/** Hidden states of query vectors [rows * queries, hidden] and of words [rows * words, hidden]. */
interface SplitRows {
  readonly queries: Value<Real>;
  readonly words: Value<Real>;
}

function splitRows({ op }: Module, { hiddenSize }: QFormerConfig, x: Value<Real>, context: LayerContext): SplitRows {
  const { queryCount, rowShape, name } = context;
  const byText = op.reshape(x, rowShape);
  const part = (from: number, to: Value<'int64'> | readonly number[], kind: string) =>
    op.reshapeNamed(op.slice(byText, [from], to, [1]), `${name}.${kind}`, [hiddenSize]);
  return { queries: part(0, [queryCount], 'queries'), words: part(queryCount, op.dimension(byText, 1), 'words') };
}

function joinRows(
  { op }: Module,
  { hiddenSize }: QFormerConfig,
  { queries, words }: SplitRows,
  { rowShape, name }: LayerContext,
): Value<Real> {
  const joined = op.concat([op.reshape(queries, rowShape), op.reshape(words, rowShape)], 1);
  return op.reshapeNamed(joined, `${name}.rows`, [hiddenSize]);
}
