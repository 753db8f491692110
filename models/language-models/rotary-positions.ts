import { once, outermost, type Value } from '../../onnx/graph.ts';
import { createScope } from '../../onnx/scope.ts';
import { type Module, pathOf } from '../module.ts';

/** Rotary positions (transformers' `LlamaRotaryEmbedding`, models/llama/modeling_llama.py). */

/** Cosines and sines of every position and frequency: [positions, head size / 2] each. */
export interface RotaryTables {
  readonly cosines: Value<'float32'>;
  readonly sines: Value<'float32'>;
}

export interface RotarySizes {
  readonly headSize: number;
  readonly maxPositions: number;
  readonly ropeTheta: number;
}

/** The tables are written once, outside any loop. transformers computes angles in float32, and so does this. */
export function rotaryTables(module: Module, sizes: RotarySizes): RotaryTables {
  const angles = anglesOf(sizes);
  const shape = [sizes.maxPositions, sizes.headSize / 2];
  const table = (label: string, of: (angle: number) => number) => {
    const root = outermost(module.op.graph);
    const path = pathOf(module, label);
    return once(root, path, 'float32', () => createScope(root, path).op.constant('float32', angles.map(of), shape));
  };
  return { cosines: table('rotary.cosines', Math.cos), sines: table('rotary.sines', Math.sin) };
}

function anglesOf({ headSize, maxPositions, ropeTheta }: RotarySizes): readonly number[] {
  const frequencies = Array.from({ length: headSize / 2 }, (_, index) => {
    const exponent = Math.fround((2 * index) / headSize);
    return Math.fround(1 / Math.fround(ropeTheta ** exponent));
  });
  return Array.from({ length: maxPositions }, (_, position) =>
    frequencies.map((frequency) => Math.fround(position * frequency)),
  ).flat();
}
