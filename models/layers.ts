import type { Activation } from '../checkpoint/config/vision-config.ts';
import { float32 } from '../onnx/constants.ts';
import type { Scope, Value } from '../onnx/graph.ts';
import * as op from '../onnx/operators.ts';
import { child, type Module, quantizedWeight, weight } from './module.ts';
import { quantizedLinear } from './quantized-linear.ts';

/** Layers that architectures share. Hidden states are 2-D, [rows, width], so that every Linear is one product. */

/**
 * [batch, tokens, width] → [batch * tokens, width]. Within a graph a tower (`vision_model`, `text_decoder`) has as many
 * rows from its first layer to its last, so this dimension goes by one name.
 */
export function asRows(module: Module, x: Value<'float32'>, width: number): Value<'float32'> {
  return op.reshapeNamed(module, x, `${towerOf(module)}.rows`, [width]);
}

/** [batch * tokens, width] → [batch, tokens, width]; a tower's batch has one name as well. */
export function asBatch(module: Module, x: Value<'float32'>, tokenCount: number, width: number): Value<'float32'> {
  return op.reshapeNamed(module, x, `${towerOf(module)}.batch`, [tokenCount, width]);
}

function towerOf({ graph, path }: Module): string {
  return `${graph.name}/${path.split('.', 1)}`;
}

/** `torch.nn.Linear`: [rows, inputSize] → [rows, outputSize]. */
export function linear(module: Module, x: Value<'float32'>, inputSize: number, outputSize: number): Value<'float32'> {
  const quantized = quantizedWeight(module, inputSize, outputSize, { index: 0, count: 1 });
  if (quantized !== undefined) return quantizedLinear(module, x, quantized, weight(module, 'bias', [outputSize]));
  return op.gemm(module, x, weight(module, 'weight', [outputSize, inputSize]), weight(module, 'bias', [outputSize]));
}

/** `torch.nn.Linear` with `bias=False`. */
export function linearWithoutBias(
  module: Module,
  x: Value<'float32'>,
  inputSize: number,
  outputSize: number,
): Value<'float32'> {
  return op.gemm(module, x, weight(module, 'weight', [outputSize, inputSize]));
}

/**
 * One of several Linears that a checkpoint stores as one matrix [count * size, inputSize], such as `qkv`: the part's
 * rows are used where they lie.
 */
export function linearPart(
  module: Module,
  x: Value<'float32'>,
  inputSize: number,
  size: number,
  part: { readonly index: number; readonly count: number },
): Value<'float32'> {
  const rows = [part.index * size, (part.index + 1) * size] as const;
  const stacked = part.count * size;
  const bias = weight(module, 'bias', [stacked], { rows });
  const quantized = quantizedWeight(module, inputSize, size, part);
  if (quantized !== undefined) return quantizedLinear(module, x, quantized, bias);
  return op.gemm(module, x, weight(module, 'weight', [stacked, inputSize], { rows }), bias);
}

/** `torch.nn.LayerNorm` over the last axis. */
export function layerNorm(module: Module, x: Value<'float32'>, size: number, epsilon: number): Value<'float32'> {
  return op.layerNormalization(module, x, weight(module, 'weight', [size]), weight(module, 'bias', [size]), epsilon);
}

/** transformers' `ACT2FN[activation]`. */
export function activate(scope: Scope, x: Value<'float32'>, activation: Activation): Value<'float32'> {
  switch (activation) {
    case 'gelu':
      return op.gelu(scope, x);
    case 'gelu_new':
    case 'gelu_pytorch_tanh':
      return op.gelu(scope, x, 'tanh');
    case 'quick_gelu':
      return op.mul(scope, x, op.sigmoid(scope, op.mul(scope, x, float32(scope, 1.702))));
    case 'relu':
      return op.relu(scope, x);
  }
}

/** What the layers of a pre-norm transformer are made of. */
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
export function preNormLayer(
  module: Module,
  config: PreNormConfig,
  x: Value<'float32'>,
  attend: (attention: Module, x: Value<'float32'>) => Value<'float32'>,
): Value<'float32'> {
  const { hiddenSize, intermediateSize, layerNormEpsilon, activation } = config;
  const norm = (name: string, input: Value<'float32'>) =>
    layerNorm(child(module, name), input, hiddenSize, layerNormEpsilon);
  const attended = op.add(module, x, attend(child(module, 'self_attn'), norm('layer_norm1', x)));
  const [first, second] = [child(module, 'mlp.fc1'), child(module, 'mlp.fc2')];
  const widened = activate(
    first,
    linear(first, norm('layer_norm2', attended), hiddenSize, intermediateSize),
    activation,
  );
  return op.add(module, attended, linear(second, widened, intermediateSize, hiddenSize));
}

/** A Linear, the residual, and a LayerNorm after both: BERT's `Output` modules (`dense`, `LayerNorm`). */
export function projectAndNormalize(
  module: Module,
  x: Value<'float32'>,
  residual: Value<'float32'>,
  sizes: { readonly inputSize: number; readonly hiddenSize: number; readonly layerNormEpsilon: number },
): Value<'float32'> {
  const projected = linear(child(module, 'dense'), x, sizes.inputSize, sizes.hiddenSize);
  return layerNorm(
    child(module, 'LayerNorm'),
    op.add(module, projected, residual),
    sizes.hiddenSize,
    sizes.layerNormEpsilon,
  );
}
