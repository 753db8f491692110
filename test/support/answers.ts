import { expect } from 'vitest';
import type { TensorAnswer } from '../../pipeline/infer-request.ts';

/** Reading what a model answers with. */

type Tensors = Pick<TensorAnswer, 'outputs'>;

/** Names and shapes of all outputs, in their order. */
export function shapesOf({ outputs }: Tensors): readonly (readonly [name: string, shape: readonly number[]])[] {
  return outputs.map(({ name, shape }) => [name, shape]);
}

/** The values of the output of that name, which must be there. */
export function valuesOf({ outputs }: Tensors, name: string): readonly (string | number)[] {
  const output = outputs.find((tensor) => tensor.name === name);
  if (output === undefined) throw new Error(`Expected output ${name}, got ${outputs.map((tensor) => tensor.name)}.`);
  expect(output.data).toHaveLength(output.shape.reduce((product, size) => product * size, 1));
  return output.data;
}

/** An output of numbers with two dimensions or more, in rows of the last one. */
export function rowsOf(answer: Tensors, name: string): readonly (readonly number[])[] {
  const values = valuesOf(answer, name).map(Number);
  const length = answer.outputs.find((tensor) => tensor.name === name)?.shape.at(-1) ?? 1;
  return Array.from({ length: values.length / length }, (_, row) => values.slice(row * length, (row + 1) * length));
}
