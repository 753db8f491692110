import type { Activation } from '../checkpoint/config/vision-config.ts';
import type { Real } from '../onnx/element-type.ts';
import type { Value } from '../onnx/graph.ts';
import type { TargetShape } from '../onnx/operators.ts';
import type { Scope } from '../onnx/scope.ts';
import { child, type Module, weight } from './module.ts';
import { quantizedLinear } from './quantized-linear.ts';

const QUICK_GELU_ALPHA = 1.702;

/** Layers that architectures share. Hidden states are 2-D, [rows, width], so that every Linear is one product. */

/**
 * [batch, tokens, width] → [batch * tokens, width]. Within a graph a tower (`vision_model`, `text_decoder`) has as many
 * rows from its first layer to its last, so this dimension goes by one name.
 */
export function asRows(module: Module, x: Value<Real>, width: number): Value<Real> {
  return module.op.reshapeNamed(x, `${towerOf(module)}.rows`, [width]);
}

/** [batch * tokens, width] → [batch, tokens, width]; a tower's batch has one name as well. */
export function asBatch(module: Module, x: Value<Real>, tokenCount: number, width: number): Value<Real> {
  return module.op.reshapeNamed(x, `${towerOf(module)}.batch`, [tokenCount, width]);
}

function towerOf({ op }: Module): string {
  return `${op.graph.name}/${op.path.split('.', 1)}`;
}

/**
 * `torch.nn.Linear`: [rows, inputSize] → [rows, outputSize].
 * @param lowest a number that no value of `x` is below, where one is known: rows in 8 bits are finer then.
 */
export function linear(
  module: Module,
  x: Value<Real>,
  inputSize: number,
  outputSize: number,
  lowest?: number,
): Value<Real> {
  const sizes = { inputSize, outputSize, lowest };
  const quantized = quantizedLinear(module, x, sizes, () => weight(module, 'bias', [outputSize]));
  if (quantized !== undefined) return quantized;
  return module.op.gemm(x, weight(module, 'weight', [outputSize, inputSize]), weight(module, 'bias', [outputSize]));
}

/** `torch.nn.Linear` with `bias=False`. */
export function linearWithoutBias(module: Module, x: Value<Real>, inputSize: number, outputSize: number): Value<Real> {
  const quantized = quantizedLinear(module, x, { inputSize, outputSize });
  if (quantized !== undefined) return quantized;
  return module.op.gemm(x, weight(module, 'weight', [outputSize, inputSize]));
}

/**
 * One of several Linears that a checkpoint stores as one matrix [count * size, inputSize], such as `qkv`: the part's
 * rows are used where they lie.
 */
export function linearPart(
  module: Module,
  x: Value<Real>,
  inputSize: number,
  size: number,
  part: { readonly index: number; readonly count: number },
): Value<Real> {
  const rows = [part.index * size, (part.index + 1) * size] as const;
  const stacked = part.count * size;
  const bias = weight(module, 'bias', [stacked], { rows });
  const quantized = quantizedLinear(module, x, { inputSize, outputSize: size, part }, () => bias);
  if (quantized !== undefined) return quantized;
  return module.op.gemm(x, weight(module, 'weight', [stacked, inputSize], { rows }), bias);
}

/**
 * Query, key and value of an attention whose three Linears a checkpoint stores one by one:
 * [batch * tokens, width] → [batch, tokens, width] each.
 * @param names of the three Linears below `module`.
 * @param write writes a Linear: with a bias unless another is given.
 */
export function queryKeyValue(
  module: Module,
  names: readonly [query: string, key: string, value: string],
  x: Value<Real>,
  width: number,
  shape: TargetShape,
  write: (module: Module, x: Value<Real>, inputSize: number, outputSize: number) => Value<Real> = linear,
): { readonly query: Value<Real>; readonly key: Value<Real>; readonly value: Value<Real> } {
  const [query, key, value] = names;
  const project = (name: string) => module.op.reshape(write(child(module, name), x, width, width), shape);
  return { query: project(query), key: project(key), value: project(value) };
}

/** The product of a Linear. A bias that comes with it is still to be added, by the operator that reads the product. */
export interface Product {
  readonly value: Value<Real>;
  readonly bias?: Value<Real>;
}

/**
 * `torch.nn.Linear` for an operator that can add the bias: on a GPU a bias in Gemm is a launch of its own.
 * @param lowest as of `linear`.
 */
export function product(
  module: Module,
  x: Value<Real>,
  inputSize: number,
  outputSize: number,
  lowest?: number,
): Product {
  if (module.form === 'plain') return { value: linear(module, x, inputSize, outputSize, lowest) };
  return { value: linearWithoutBias(module, x, inputSize, outputSize), bias: weight(module, 'bias', [outputSize]) };
}

/** `torch.nn.LayerNorm` over the last axis. */
export function layerNorm(module: Module, x: Value<Real>, size: number, epsilon: number): Value<Real> {
  return module.op.layerNormalization(x, weight(module, 'weight', [size]), weight(module, 'bias', [size]), epsilon);
}

/** A residual, and what is added to it. */
interface Addition {
  readonly residual: Value<Real>;
  readonly added: Product;
}

/** The sum and its `torch.nn.LayerNorm`, which is `norm`, as one operator. */
function addAndNormalize(
  norm: Module,
  { residual, added }: Addition,
  size: number,
  epsilon: number,
): { readonly sum: Value<Real>; readonly normalized: Value<Real> } {
  return norm.op.microsoft.sumAndLayerNormalization(skipInputs(norm, { residual, added }, size, epsilon));
}

function skipInputs(norm: Module, { residual, added: { value, bias } }: Addition, size: number, epsilon: number) {
  return {
    x: value,
    skip: residual,
    weight: weight(norm, 'weight', [size]),
    normBias: weight(norm, 'bias', [size]),
    ...(bias === undefined ? {} : { bias }),
    epsilon,
  };
}

/** The `torch.nn.LayerNorm` of the sum alone. */
export function addResidualAndNormalize(
  norm: Module,
  residual: Value<Real>,
  added: Product,
  { hiddenSize, layerNormEpsilon }: { readonly hiddenSize: number; readonly layerNormEpsilon: number },
): Value<Real> {
  return norm.op.microsoft.skipLayerNormalization(skipInputs(norm, { residual, added }, hiddenSize, layerNormEpsilon));
}

/** transformers' `ACT2FN[activation]`. */
export function activate(scope: Scope, { value, bias }: Product, activation: Activation): Value<Real> {
  return bias === undefined ? activateSum(scope, value, activation) : addAndActivate(scope, value, bias, activation);
}

/** The activation of `x + bias`, by operators that add the bias or are one where others are several. */
function addAndActivate({ op }: Scope, x: Value<Real>, bias: Value<Real>, activation: Activation): Value<Real> {
  switch (activation) {
    case 'gelu':
      return op.microsoft.biasGelu(x, bias);
    case 'gelu_new':
    case 'gelu_pytorch_tanh':
      return op.microsoft.fastGelu(x, bias);
    case 'quick_gelu':
      return op.microsoft.quickGelu(op.add(x, bias), QUICK_GELU_ALPHA);
    case 'relu':
      return op.relu(op.add(x, bias));
  }
}

function activateSum({ op }: Scope, x: Value<Real>, activation: Activation): Value<Real> {
  switch (activation) {
    case 'gelu':
      return op.gelu(x);
    case 'gelu_new':
    case 'gelu_pytorch_tanh':
      return op.gelu(x, 'tanh');
    case 'quick_gelu':
      return op.mul(x, op.sigmoid(op.mul(x, QUICK_GELU_ALPHA)));
    case 'relu':
      return op.relu(x);
  }
}

/** A number that no output of `activate` is below. GELU has its minimum of -0.16997 at -0.7518; the others lie above it. */
export const LOWEST_ACTIVATION = -0.1701;

/** Sizes of a pre-norm transformer. */
export interface PreNormConfig {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layerNormEpsilon: number;
  readonly activation: Activation;
}

function addProduct({ op }: Scope, residual: Value<Real>, { value, bias }: Product): Value<Real> {
  return op.add(bias === undefined ? value : op.add(value, bias), residual);
}

/** The attention of a pre-norm transformer, from its module and the normalised rows to as many rows. */
export type Attend = (attention: Module, x: Value<Real>) => Product;

/**
 * One layer of the transformers that CLIP and BLIP's vision model are made of: `x += attention(layer_norm1(x))`,
 * `x += mlp(layer_norm2(x))`.
 */
function preNormLayer(module: Module, config: PreNormConfig, x: Value<Real>, attend: Attend): Value<Real> {
  const { op } = module;
  const norm = (name: string, input: Value<Real>) =>
    layerNorm(child(module, name), input, config.hiddenSize, config.layerNormEpsilon);
  const attended = op.add(x, attend(child(module, 'self_attn'), norm('layer_norm1', x)).value);
  return op.add(attended, multilayerPerceptron(child(module, 'mlp'), config, norm('layer_norm2', attended)).value);
}

function multilayerPerceptron(module: Module, config: PreNormConfig, x: Value<Real>): Product {
  const { hiddenSize, intermediateSize, activation } = config;
  const [first, second] = [child(module, 'fc1'), child(module, 'fc2')];
  const widened = product(first, x, hiddenSize, intermediateSize);
  return product(second, activate(first, widened, activation), intermediateSize, hiddenSize, LOWEST_ACTIVATION);
}

/** All layers of such a transformer, `encoder.layers` of `module`. */
export function preNormLayers(
  module: Module,
  config: PreNormConfig & { readonly layerCount: number },
  x: Value<Real>,
  attend: Attend,
): Value<Real> {
  const layers = Array.from({ length: config.layerCount }, (_, index) => child(module, `encoder.layers.${index}`));
  if (module.form === 'lean') return leanPreNormLayers(module, layers, config, x, attend);
  return layers.reduce((hidden, layer) => preNormLayer(layer, config, hidden, attend), x);
}

/** One operator adds what a layer computed to the residual, and normalises the sum for the next. */
function leanPreNormLayers(
  module: Module,
  layers: readonly Module[],
  config: PreNormConfig,
  x: Value<Real>,
  attend: Attend,
): Value<Real> {
  const { hiddenSize, layerNormEpsilon } = config;
  let residual = x;
  let added: Product | undefined;
  const normalize = (norm: Module) => {
    if (added === undefined) return layerNorm(norm, residual, hiddenSize, layerNormEpsilon);
    const { sum, normalized } = addAndNormalize(norm, { residual, added }, hiddenSize, layerNormEpsilon);
    residual = sum;
    return normalized;
  };
  for (const layer of layers) {
    added = attend(child(layer, 'self_attn'), normalize(child(layer, 'layer_norm1')));
    added = multilayerPerceptron(child(layer, 'mlp'), config, normalize(child(layer, 'layer_norm2')));
  }
  return added === undefined ? x : addProduct(module, residual, added);
}

/** A Linear, the residual, and a LayerNorm after both: BERT's `Output` modules (`dense`, `LayerNorm`). */
export function projectAndNormalize(
  module: Module,
  x: Value<Real>,
  residual: Value<Real>,
  sizes: {
    readonly inputSize: number;
    readonly hiddenSize: number;
    readonly layerNormEpsilon: number;
    /** A number that no value of `x` is below, where one is known. */
    readonly lowest?: number;
  },
): Value<Real> {
  const { inputSize, hiddenSize, layerNormEpsilon } = sizes;
  const added = product(child(module, 'dense'), x, inputSize, hiddenSize, sizes.lowest);
  const norm = child(module, 'LayerNorm');
  if (module.form === 'plain')
    return layerNorm(norm, module.op.add(added.value, residual), hiddenSize, layerNormEpsilon);
  return addResidualAndNormalize(norm, residual, added, sizes);
}
