import { OPT_LAYER_NORM_EPSILON, type OptConfig } from '../../checkpoint/config/opt-config.ts';
import type { Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import { filled } from '../joined-projections.ts';
import { activate, LOWEST_ACTIVATION, linearWithoutBias, type Product, product } from '../layers.ts';
import { child, type Module, prepared, weight } from '../module.ts';
import { cachedAttention, type LayerCache, type Projections, type SelfAttentionContext } from './self-attention.ts';

/** Hidden states [rows * tokens, hidden], to which the output of a block is still to be added. */
export interface ResidualStream {
  readonly residual: Value<Real>;
  readonly added?: Product;
}

/** A layer's place, and what it attends to. */
export interface LayerContext extends SelfAttentionContext {
  /** Keeps what is read of the layer's output: [rows * tokens, hidden] → [rows * tokens that are kept, hidden]. */
  readonly keep: (x: Value<Real>) => Value<Real>;
}

/**
 * transformers' `OPTDecoderLayer` (models/opt/modeling_opt.py): a norm before each block, or behind each
 * (`do_layer_norm_before: false`).
 */
export function optLayer(
  layer: Module,
  config: OptConfig,
  stream: ResidualStream,
  context: LayerContext,
): { readonly stream: ResidualStream; readonly present: LayerCache } {
  const { normFirst } = config;
  const attentionNorm = child(layer, 'self_attn_layer_norm');
  const { sum, normalized } = normFirst ? addAndNormalize(attentionNorm, config, stream) : asTheyAre(layer, stream);
  const { output, present } = attention(child(layer, 'self_attn'), config, normalized, context);
  const attended = { residual: context.keep(sum), added: output };
  const middle = normFirst
    ? addAndNormalize(child(layer, 'final_layer_norm'), config, attended)
    : twice(addAndNormalize(attentionNorm, config, attended).normalized);
  const fed = { residual: middle.sum, added: feedForward(layer, config, middle.normalized) };
  if (normFirst) return { stream: fed, present };
  return { stream: { residual: addAndNormalize(child(layer, 'final_layer_norm'), config, fed).normalized }, present };
}

/** The sum of a stream, and what the next block reads. */
interface Normalized {
  readonly sum: Value<Real>;
  readonly normalized: Value<Real>;
}

function twice(value: Value<Real>): Normalized {
  return { sum: value, normalized: value };
}

function asTheyAre(module: Module, stream: ResidualStream): Normalized {
  return twice(sumOf(module, stream));
}

export function sumOf({ op }: Module, { residual, added }: ResidualStream): Value<Real> {
  if (added === undefined) return residual;
  return op.add(residual, added.bias === undefined ? added.value : op.add(added.value, added.bias));
}

/** `torch.nn.LayerNorm` of the sum. In the lean form one operator adds and normalises. */
export function addAndNormalize(norm: Module, config: OptConfig, stream: ResidualStream): Normalized {
  const { op, form } = norm;
  const { scale, shift } = normWeights(norm, config);
  const { residual, added } = stream;
  if (form === 'lean' && added !== undefined) {
    const { value: x, ...bias } = added;
    const inputs = { x, skip: residual, weight: scale, normBias: shift, ...bias, epsilon: OPT_LAYER_NORM_EPSILON };
    return op.microsoft.sumAndLayerNormalization(inputs);
  }
  const sum = sumOf(norm, stream);
  return { sum, normalized: op.layerNormalization(sum, scale, shift, OPT_LAYER_NORM_EPSILON) };
}

/** Ones and zeros where norms have no weights (`layer_norm_elementwise_affine: false`). */
function normWeights(norm: Module, { hiddenSize, hasNormWeights }: OptConfig) {
  const { precision } = norm;
  const constant = (label: string, number: number) =>
    prepared(norm, label, [], (scope) => filled(scope, precision, number, hiddenSize));
  if (!hasNormWeights) return { scale: constant('ones', 1), shift: constant('zeros', 0) };
  return { scale: weight(norm, 'weight', [hiddenSize]), shift: weight(norm, 'bias', [hiddenSize]) };
}

/**
 * `OPTAttention`. Keys and values are those of all tokens; queries whose results nobody reads are cut off before the
 * output's Linear.
 */
function attention(
  module: Module,
  config: OptConfig,
  x: Value<Real>,
  context: LayerContext,
): { readonly output: Product; readonly present: LayerCache } {
  const { hiddenSize, hasBias } = config;
  const projections: Projections = { names: ['q_proj', 'k_proj', 'v_proj'], hasBias };
  const { output, present } = cachedAttention(module, config, x, context, projections);
  const rows = context.keep(module.op.reshape(output, [-1, hiddenSize]));
  return { output: project(child(module, 'out_proj'), config, rows, hiddenSize, hiddenSize), present };
}

function feedForward(layer: Module, config: OptConfig, x: Value<Real>): Product {
  const { hiddenSize, intermediateSize, activation } = config;
  const widened = project(child(layer, 'fc1'), config, x, hiddenSize, intermediateSize);
  const activated = activate(layer, widened, activation);
  return project(child(layer, 'fc2'), config, activated, intermediateSize, hiddenSize, LOWEST_ACTIVATION);
}

/** `torch.nn.Linear` with a bias, or without one (`enable_bias: false`). */
function project(
  module: Module,
  { hasBias }: OptConfig,
  x: Value<Real>,
  inputSize: number,
  outputSize: number,
  lowest?: number,
): Product {
  if (hasBias) return product(module, x, inputSize, outputSize, lowest);
  return { value: linearWithoutBias(module, x, inputSize, outputSize) };
}
