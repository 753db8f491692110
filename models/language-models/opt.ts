import type { OptConfig } from '../../checkpoint/config/opt-config.ts';
import type { Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import { embeddingRows } from '../embedding.ts';
import type { DecodeResult, DecodeStep, LanguageModel, Prompt } from '../generation/language-model.ts';
import type { GenerationParameters } from '../generation/parameters.ts';
import { child, type Module, pathOf, weight, within } from '../module.ts';
import { quantizedLinear } from '../quantized-linear.ts';
import { layerIndices, ofLayer } from './bert.ts';
import { fromFirstToken, hideLaterAndPadding, readRange, tokenPositions } from './decoder-positions.ts';
import { addAndNormalize, optLayer, type ResidualStream, sumOf } from './opt-layer.ts';
import { type PreparedPadding, preparePadding } from './prepared-padding.ts';
import { cacheLength, cacheOf, emptyCache, type LayerCache, type SelfAttentionContext } from './self-attention.ts';

/** transformers' `OPTForCausalLM` (models/opt/modeling_opt.py) as a language model. */

/** `OPTLearnedPositionalEmbedding.offset`: as many rows stand before that of the first position, and are never read. */
const POSITION_OFFSET = 2;

type OptCache = readonly LayerCache[];

/**
 * @param module `language_model`.
 * @param padding where it was prepared for all steps.
 * @throws CheckpointError when a tensor is missing or has another shape than the configuration says.
 */
export function optLanguageModel(
  module: Module,
  config: OptConfig,
  padding?: PreparedPadding,
): LanguageModel<OptCache> {
  return {
    embed: (scope, tokenIds) => embed(within(module, scope), config, tokenIds),
    emptyCache: (scope, sequenceCount) => emptyCache(scope, module, config, sequenceCount),
    cacheLength: (scope, cache) => cacheLength(scope, ofLayer(cache, 0)),
    select: cacheOf,
    decode: (scope, step) => decode(within(module, scope), config, step, padding),
    endTokenIds: config.endTokenIds,
    padTokenId: config.padTokenId,
  };
}

/** The padding of prompts, for all steps of greedy search. */
export function prepareOptPadding(
  module: Module,
  config: OptConfig,
  prompt: Extract<Prompt, { readonly inputIds: Value<'int64'> }>,
  parameters: GenerationParameters,
): PreparedPadding {
  return preparePadding(module, () => positionEmbeddings(module, config), prompt, parameters);
}

const EMBEDDING = 'embed_tokens.weight';

function decoderOf(module: Module): Module {
  return child(module, 'model.decoder');
}

/** [rows, tokens] → [rows, tokens, hidden] */
function embed(module: Module, { vocabularySize, hiddenSize }: OptConfig, tokenIds: Value<'int64'>): Value<Real> {
  const tiedTo = [pathOf(module, 'lm_head.weight')];
  return embeddingRows(decoderOf(module), EMBEDDING, [vocabularySize, hiddenSize], tokenIds, { tiedTo });
}

/** [positions, hidden] */
function positionEmbeddings(module: Module, { maxPositions, hiddenSize }: OptConfig): Value<Real> {
  const count = maxPositions + POSITION_OFFSET;
  const rows = [POSITION_OFFSET, count] as const;
  return weight(child(decoderOf(module), 'embed_positions'), 'weight', [count, hiddenSize], { rows });
}

/** One step: logits of the last token, and the caches with the new tokens. */
function decode(
  module: Module,
  config: OptConfig,
  step: DecodeStep<OptCache>,
  padding: PreparedPadding | undefined,
): DecodeResult<OptCache> {
  const { op } = module;
  const start = padding === undefined ? startOf(module, config, step) : preparedStart(module, config, step, padding);
  const { rowShape } = start.context;
  // Only the last token is scored: the last layer's blocks compute no other.
  const keepLast = (x: Value<Real>) => op.gather(op.reshape(x, rowShape), -1, 1);
  let { stream } = start;
  const cache = layerIndices(config).map((index) => {
    const isLast = index === config.layerCount - 1;
    const context = { ...start.context, cache: ofLayer(step.cache, index), keep: isLast ? keepLast : keepAll };
    const computed = optLayer(child(decoderOf(module), `layers.${index}`), config, stream, context);
    stream = computed.stream;
    return computed.present;
  });
  return { logits: head(module, config, stream), cache };
}

function keepAll(x: Value<Real>): Value<Real> {
  return x;
}

/** The first layer's input, and what each layer attends to. */
interface Start {
  readonly stream: ResidualStream;
  readonly context: Omit<SelfAttentionContext, 'cache'>;
}

/** Positions count from each row's first token, which is the image's first vector; and nothing attends to padding. */
function startOf(module: Module, config: OptConfig, { embeddings, cache, paddingLength }: DecodeStep<OptCache>): Start {
  const { op } = child(decoderOf(module), 'embed_positions');
  const pastLength = cacheLength(module, ofLayer(cache, 0));
  const positions = tokenPositions(module, pastLength, embeddings);
  const hiding = hideLaterAndPadding(module, positions, paddingLength);
  const added = op.gather(positionEmbeddings(module, config), fromFirstToken({ op }, positions, paddingLength), 0);
  return {
    stream: streamOf(module, config, embeddings, added),
    context: { ...hiding, rowShape: shapeOf(module, config, embeddings) },
  };
}

function preparedStart(
  module: Module,
  config: OptConfig,
  { embeddings, cache }: DecodeStep<OptCache>,
  { positions, mask }: PreparedPadding,
): Start {
  const { first, end } = readRange(module, cacheLength(module, ofLayer(cache, 0)), embeddings);
  const added = module.op.slice(positions, first, end, [1]);
  return {
    stream: streamOf(module, config, embeddings, added),
    context: { mask, rowShape: shapeOf(module, config, embeddings) },
  };
}

function streamOf(
  { op }: Module,
  { hiddenSize }: OptConfig,
  embeddings: Value<Real>,
  positions: Value<Real>,
): ResidualStream {
  return {
    residual: op.reshape(embeddings, [-1, hiddenSize]),
    added: { value: op.reshape(positions, [-1, hiddenSize]) },
  };
}

/** [rows, -1, hidden] */
function shapeOf({ op }: Module, { hiddenSize }: OptConfig, embeddings: Value<Real>) {
  return op.shape([op.dimension(embeddings, 0), -1, hiddenSize]);
}

/** The last norm and `lm_head`: [rows, hidden] → [rows, vocabulary]. A head that the file has wins over the embedding. */
function head(module: Module, config: OptConfig, stream: ResidualStream): Value<'float32'> {
  const { hiddenSize, vocabularySize, hasFinalNorm } = config;
  const decoder = decoderOf(module);
  const normalized = hasFinalNorm
    ? addAndNormalize(child(decoder, 'final_layer_norm'), config, stream).normalized
    : sumOf(decoder, stream);
  const output = child(module, 'lm_head');
  const quantized = quantizedLinear(output, normalized, { inputSize: hiddenSize, outputSize: vocabularySize });
  if (quantized !== undefined) return quantized;
  const matrix = weight(output, 'weight', [vocabularySize, hiddenSize], { tiedTo: [pathOf(decoder, EMBEDDING)] });
  return output.op.cast(output.op.gemm(normalized, matrix), 'float32');
}
