import type { AdapterConfig } from '../config/adapter-config.ts';
import { readFloats } from '../new-checkpoint/float-tensor.ts';
import type { TensorRegion } from '../weights/safetensors.ts';
import { invalidTensor, type LoraModule } from './adapter.ts';
import { PEFT_PREFIX } from './base-names.ts';
import { addProduct, setColumnLengths, setRowLengths, transposed } from './merge-matrix.ts';

/** The change that an adapter makes to one tensor of its base. */
export interface Change {
  /** @throws CheckpointError when it does not fit the tensor. */
  readonly check: (base: TensorRegion) => void;
  /** May change `values` in place. */
  readonly apply: (values: Float32Array, base: TensorRegion) => Float32Array;
}

/** The adapter's own tensor takes the place of the base's. */
export function replaceBy(region: TensorRegion): Change {
  return {
    check: (base) => requireShape(region, base.shape),
    apply: () => readFloats(region),
  };
}

/** The bias of B, scaled, is added to that of the module. */
export function addBias(region: TensorRegion, scale: number): Change {
  return {
    check: (base) => requireShape(region, base.shape),
    apply(values) {
      const bias = readFloats(region);
      return values.map((value, index) => value + scale * (bias[index] ?? 0));
    },
  };
}

/**
 * W + scale * B * A for a linear layer, a convolution or an embedding, and DoRA's lengths where there are some.
 * Source: peft's tuners/lora/layer.py, `get_delta_weight`, and tuners/lora/variants.py.
 */
export function addLora(module: LoraModule, scale: number): Change {
  return {
    check: (base) => requireFit(module, base),
    apply(values, base) {
      const { a, b, magnitudes, isEmbedding } = module;
      const rank = rankOf(module);
      const [rowCount = 0] = base.shape;
      const columnCount = values.length / rowCount;
      const [left, right] = isEmbedding
        ? [transposed(readFloats(a), rowCount), transposed(readFloats(b), rank)]
        : [readFloats(b), readFloats(a)];
      addProduct({ values, rowCount, columnCount, left, right, rank, scale });
      const setLengths = isEmbedding ? setColumnLengths : setRowLengths;
      if (magnitudes !== undefined) setLengths(values, columnCount, readFloats(magnitudes));
      return values;
    },
  };
}

/** alpha / rank, or alpha / sqrt(rank); the alpha may be the module's own. */
export function scaleOf(module: LoraModule, { alpha, alphaPatterns, usesRootOfRank }: AdapterConfig): number {
  const name = module.name.replace(PEFT_PREFIX, '');
  const own = alphaPatterns.find(({ pattern }) => pattern.test(name));
  const rank = rankOf(module);
  return (own?.alpha ?? alpha) / (usesRootOfRank ? Math.sqrt(rank) : rank);
}

function rankOf({ a }: LoraModule): number {
  return a.shape[0] ?? 0;
}

function requireShape(region: TensorRegion, shape: readonly number[]): void {
  if (region.shape.join() === shape.join()) return;
  throw invalidTensor(region, `the base's shape [${shape.join(', ')}], got [${region.shape.join(', ')}]`);
}

/** A has as many numbers for each rank as a row of the base, and B as many as the base has rows. */
function requireFit(module: LoraModule, { shape, name }: TensorRegion): void {
  const { a, b, magnitudes, isEmbedding } = module;
  const rank = rankOf(module);
  const [rows = 0, ...others] = shape;
  const columns = others.reduce((product, size) => product * size, 1);
  const [outputs, inputs] = isEmbedding ? [columns, rows] : [rows, columns];
  const isFit =
    rank > 0 &&
    countOf(a) === rank * inputs &&
    countOf(b) === outputs * rank &&
    a.shape[1] === (isEmbedding ? rows : shape[1]);
  if (!isFit) {
    const matrices = `A [${a.shape.join(', ')}] and B [${b.shape.join(', ')}]`;
    throw invalidTensor(a, `matrices that fit ${name} [${shape.join(', ')}] of the base, got ${matrices}`);
  }
  if (magnitudes !== undefined && countOf(magnitudes) !== outputs)
    throw invalidTensor(magnitudes, `${outputs} lengths, got ${countOf(magnitudes)}`);
}

function countOf({ shape }: TensorRegion): number {
  return shape.reduce((product, size) => product * size, 1);
}
