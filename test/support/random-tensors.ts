import { join } from 'node:path';
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { mersenne } from 'pure-rand/generator/mersenne';
import { type TensorToWrite, writeSafetensors } from '../../checkpoint/new-checkpoint/write-safetensors.ts';
import { openWeights, type Weights } from '../../checkpoint/weights/weights.ts';
import { temporaryFolder } from './temporary-folder.ts';

/** Checkpoints of random weights, which a test makes. */

export type Shapes = readonly (readonly [name: string, shape: readonly number[]])[];

export type Tensors = ReadonlyMap<string, { readonly shape: readonly number[]; readonly values: Float32Array }>;

/** Matrices keep the size of what they multiply, and norms have weights around 1. */
export function randomTensors(shapes: Shapes, seed: number): Tensors {
  const generator = mersenne(seed);
  const random = () => uniformInt(generator, -1000, 1000) / 1000;
  const numbers = (name: string, shape: readonly number[]) => {
    const scale = shape.length === 1 ? 0.3 : 3 / Math.sqrt(shape.at(-1) ?? 1);
    const middle = /norm\d?\.weight$/i.test(name) ? 1 : 0;
    const count = shape.reduce((product, size) => product * size, 1);
    return Float32Array.from({ length: count }, () => middle + scale * random());
  };
  return new Map(shapes.map(([name, shape]) => [name, { shape, values: numbers(name, shape) }]));
}

/** Writes tensors into a checkpoint of their own. */
export async function weightsOf(tensors: Tensors): Promise<Weights> {
  const folder = temporaryFolder();
  const written = [...tensors].map(([name, { shape, values }]): TensorToWrite => {
    const bytes = new Uint8Array(values.buffer);
    return { name, dtype: 'F32', shape, lengthBytes: bytes.length, read: () => bytes };
  });
  await writeSafetensors(join(folder, 'model.safetensors'), written);
  return openWeights(folder);
}
