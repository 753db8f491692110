import type { LlamaConfig } from '../../checkpoint/config/llama-config.ts';
import type { Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import type { Scope } from '../../onnx/scope.ts';
import { causalBias } from '../attention-bias.ts';
import { embeddingRows } from '../embedding.ts';
import type { DecodeResult, DecodeStep, LanguageModel } from '../generation/language-model.ts';
import { linear, linearWithoutBias } from '../layers.ts';
import { child, type Module, pathOf, weight, within } from '../module.ts';
import { quantizedLinear } from '../quantized-linear.ts';
import { type KeysAndValues, layerIndices, ofLayer } from './bert.ts';
import { fromFirstToken, tokenPositions } from './decoder-positions.ts';
import { addAndNormalize, type FloatStream, type NormSizes } from './rms-norm.ts';
import { type RotaryTables, rotaryTables } from './rotary-positions.ts';
import { cacheLength, cacheOf } from './self-attention.ts';

/** transformers' `LlamaForCausalLM` (models/llama/modeling_llama.py) as a language model: Vicuna is one. */

type LlamaCache = readonly KeysAndValues[];

const EMBEDDING = 'model.embed_tokens.weight';

/**
 * @param module `language_model`.
 * @throws CheckpointError when a tensor is missing or has another shape than the configuration says.
 */
export function llamaLanguageModel(module: Module, config: LlamaConfig): LanguageModel<LlamaCache> {
  return {
    embed: (scope, tokenIds) => {
      const { vocabularySize, hiddenSize } = config;
      return embeddingRows(within(module, scope), EMBEDDING, [vocabularySize, hiddenSize], tokenIds);
    },
    emptyCache: (scope, sequenceCount) => emptyCache(scope, module, config, sequenceCount),
    cacheLength: (scope, cache) => cacheLength(scope, ofLayer(cache, 0)),
    select: cacheOf,
    decode: (scope, step) => decode(within(module, scope), config, step),
    endTokenIds: config.endTokenIds,
    padTokenId: config.padTokenId,
  };
}

/** Keys and values are repeated for the heads that share them before they are kept. */
function emptyCache({ op }: Scope, { precision }: Module, config: LlamaConfig, count: Value<'int64'>): LlamaCache {
  const empty = op.fill(precision, 0, [count, config.headCount, 0, config.headSize]);
  return layerIndices(config).map(() => ({ keys: empty, values: empty }));
}

function normSizes({ hiddenSize, rmsNormEpsilon: epsilon }: LlamaConfig): NormSizes {
  return { hiddenSize, epsilon };
}

/** Where the new tokens stand, and what they look at. */
interface StepContext {
  /** [rows, 1, tokens, keys]: hides later tokens and padding. */
  readonly bias: Value<Real>;
  /** [rows, tokens]: positions count from each row's first token, which is the image's first vector. */
  readonly positions: Value<'int64'>;
  readonly tables: RotaryTables;
  readonly rowCount: Value<'int64'>;
}

function decode(
  module: Module,
  config: LlamaConfig,
  { embeddings, paddingLength, cache }: DecodeStep<LlamaCache>,
): DecodeResult<LlamaCache> {
  const model = child(module, 'model');
  const { op } = model;
  const places = tokenPositions(model, cacheLength(model, ofLayer(cache, 0)), embeddings);
  const context = {
    bias: causalBias(model, places, paddingLength),
    positions: fromFirstToken(model, places, paddingLength),
    tables: rotaryTables(model, config),
    rowCount: op.dimension(embeddings, 0),
  };
  let stream: FloatStream = { residual: op.reshape(op.cast(embeddings, 'float32'), [-1, config.hiddenSize]) };
  const present = layerIndices(config).map((index) => {
    const layer = child(model, `layers.${index}`);
    const attended = attend(layer, config, stream, ofLayer(cache, index), context);
    const { sum, normalized } = addAndNormalize(
      child(layer, 'post_attention_layernorm'),
      normSizes(config),
      attended.stream,
    );
    stream = { residual: sum, added: feedForward(child(layer, 'mlp'), config, normalized) };
    return attended.present;
  });
  return { logits: head(module, config, stream, context.rowCount), cache: present };
}

function attend(
  layer: Module,
  config: LlamaConfig,
  stream: FloatStream,
  past: KeysAndValues,
  context: StepContext,
): { readonly stream: FloatStream; readonly present: KeysAndValues } {
  const { headCount, headSize, hiddenSize } = config;
  const { sum, normalized } = addAndNormalize(child(layer, 'input_layernorm'), normSizes(config), stream);
  const attention = child(layer, 'self_attn');
  const { op } = attention;
  const keysOrValues = (name: 'k_proj' | 'v_proj') =>
    project(attention, name, config, config.keyValueHeadCount, normalized, context);
  const { output, presentKey, presentValue } = op.microsoft.cachedMultiHeadAttention(
    {
      query: turned(attention, project(attention, 'q_proj', config, headCount, normalized, context), context),
      key: shared(attention, config, turned(attention, keysOrValues('k_proj'), context)),
      value: shared(attention, config, keysOrValues('v_proj')),
      bias: context.bias,
      pastKey: past.keys,
      pastValue: past.values,
    },
    headCount,
  );
  const width = headCount * headSize;
  const attended = linearOf(config.hasAttentionBias)(
    child(attention, 'o_proj'),
    op.reshape(output, [-1, width]),
    width,
    hiddenSize,
  );
  return {
    stream: { residual: sum, added: op.cast(attended, 'float32') },
    present: { keys: presentKey, values: presentValue },
  };
}

function linearOf(hasBias: boolean): typeof linearWithoutBias {
  return hasBias ? linear : linearWithoutBias;
}

/** [rows * tokens, hidden] → [rows, tokens, heads * head size]. */
function project(
  attention: Module,
  name: 'q_proj' | 'k_proj' | 'v_proj',
  { hiddenSize, headSize, hasAttentionBias }: LlamaConfig,
  headCount: number,
  x: Value<Real>,
  { rowCount }: StepContext,
): Value<Real> {
  const width = headCount * headSize;
  const projected = linearOf(hasAttentionBias)(child(attention, name), x, hiddenSize, width);
  return attention.op.reshape(projected, [rowCount, -1, width]);
}

/** Each head turned by its position: the angles are in float32. */
function turned({ op, precision }: Module, x: Value<Real>, { positions, tables }: StepContext): Value<Real> {
  const { cosines, sines } = tables;
  return op.cast(op.microsoft.rotaryEmbedding(op.cast(x, 'float32'), positions, cosines, sines), precision);
}

/** Repeats each head of keys or values for the heads of queries that share it: [rows, tokens, heads * head size]. */
function shared({ op }: Module, config: LlamaConfig, x: Value<Real>): Value<Real> {
  const { headCount, keyValueHeadCount, headSize } = config;
  if (headCount === keyValueHeadCount) return x;
  const [rows, tokens] = [op.dimension(x, 0), op.dimension(x, 1)];
  const heads = op.reshape(x, [rows, tokens, keyValueHeadCount, 1, headSize]);
  const repeated = op.expand(heads, [1, 1, 1, headCount / keyValueHeadCount, 1]);
  return op.reshape(repeated, [rows, tokens, headCount * headSize]);
}

/** `LlamaMLP`: `down_proj(silu(gate_proj x) * up_proj x)`. */
function feedForward(module: Module, config: LlamaConfig, x: Value<Real>): Value<'float32'> {
  const { hiddenSize, intermediateSize, hasFeedForwardBias } = config;
  const { op } = module;
  const write = linearOf(hasFeedForwardBias);
  const gate = write(child(module, 'gate_proj'), x, hiddenSize, intermediateSize);
  const up = write(child(module, 'up_proj'), x, hiddenSize, intermediateSize);
  const widened = op.mul(op.mul(gate, op.sigmoid(gate)), up);
  return op.cast(write(child(module, 'down_proj'), widened, intermediateSize, hiddenSize), 'float32');
}

/** The last norm and `lm_head`, of the last token alone. A head that the file has wins over the embedding. */
function head(
  module: Module,
  config: LlamaConfig,
  { residual, added }: FloatStream,
  rowCount: Value<'int64'>,
): Value<'float32'> {
  const { hiddenSize, vocabularySize } = config;
  const norm = child(module, 'model.norm');
  const { op } = norm;
  const last = (x: Value<'float32'>) => op.gather(op.reshape(x, [rowCount, -1, hiddenSize]), -1, 1);
  const stream = { residual: last(residual), ...(added === undefined ? {} : { added: last(added) }) };
  const { normalized } = addAndNormalize(norm, normSizes(config), stream);
  const output = child(module, 'lm_head');
  const quantized = quantizedLinear(output, normalized, { inputSize: hiddenSize, outputSize: vocabularySize });
  if (quantized !== undefined) return quantized;
  const matrix = weight(output, 'weight', [vocabularySize, hiddenSize], { tiedTo: [pathOf(module, EMBEDDING)] });
  return output.op.cast(output.op.gemm(normalized, matrix), 'float32');
}
