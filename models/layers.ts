import type { Activation } from '../checkpoint/config/vision-config.ts';
import type { Real } from '../onnx/element-type.ts';
import type { Value } from '../onnx/graph.ts';
import type { TargetShape } from '../onnx/operators.ts';
import type { Scope } from '../onnx/scope.ts';
import { child, type Module, weight } from './module.ts';
import { quantizedLinear } from './quantized-linear.ts';

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
 */
export function queryKeyValue(
  module: Module,
  names: readonly [query: string, key: string, value: string],
  x: Value<Real>,
  width: number,
  shape: TargetShape,
): { readonly query: Value<Real>; readonly key: Value<Real>; readonly value: Value<Real> } {
  const [query, key, value] = names;
  const project = (name: string) => module.op.reshape(linear(child(module, name), x, width, width), shape);
  return { query: project(query), key: project(key), value: project(value) };
}

/** `torch.nn.LayerNorm` over the last axis. */
export function layerNorm(module: Module, x: Value<Real>, size: number, epsilon: number): Value<Real> {
  return module.op.layerNormalization(x, weight(module, 'weight', [size]), weight(module, 'bias', [size]), epsilon);
}

/** transformers' `ACT2FN[activation]`. */
export function activate({ op }: Scope, x: Value<Real>, activation: Activation): Value<Real> {
  switch (activation) {
    case 'gelu':
      return op.gelu(x);
    case 'gelu_new':
    case 'gelu_pytorch_tanh':
      return op.gelu(x, 'tanh');
    case 'quick_gelu':
      return op.mul(x, op.sigmoid(op.mul(x, 1.702)));
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

/**
 * One layer of the transformers that CLIP and BLIP's vision model are made of: `x += attention(layer_norm1(x))`,
 * `x += mlp(layer_norm2(x))`.
 * @param attend the attention, from its module and the normalised rows to as many rows.
 */
function preNormLayer(
  module: Module,
  config: PreNormConfig,
  x: Value<Real>,
  attend: (attention: Module, x: Value<Real>) => Value<Real>,
): Value<Real> {
  const { op } = module;
  const { hiddenSize, intermediateSize, layerNormEpsilon, activation } = config;
  const norm = (name: string, input: Value<Real>) =>
    layerNorm(child(module, name), input, hiddenSize, layerNormEpsilon);
  const attended = op.add(x, attend(child(module, 'self_attn'), norm('layer_norm1', x)));
  const [first, second] = [child(module, 'mlp.fc1'), child(module, 'mlp.fc2')];
  const widened = linear(first, norm('layer_norm2', attended), hiddenSize, intermediateSize);
  const activated = activate(first, widened, activation);
  return op.add(attended, linear(second, activated, intermediateSize, hiddenSize, LOWEST_ACTIVATION));
}

/** All layers of such a transformer, `encoder.layers` of `module`. */
export function preNormLayers(
  module: Module,
  config: PreNormConfig & { readonly layerCount: number },
  x: Value<Real>,
  attend: (attention: Module, x: Value<Real>) => Value<Real>,
): Value<Real> {
  let hidden = x;
  for (let index = 0; index < config.layerCount; index += 1)
    hidden = preNormLayer(child(module, `encoder.layers.${index}`), config, hidden, attend);
  return hidden;
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
  const projected = linear(child(module, 'dense'), x, sizes.inputSize, sizes.hiddenSize, sizes.lowest);
  return layerNorm(
    child(module, 'LayerNorm'),
    module.op.add(projected, residual),
    sizes.hiddenSize,
    sizes.layerNormEpsilon,
  );
}
