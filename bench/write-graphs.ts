import { mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { openCheckpoint } from '../checkpoint/checkpoint.ts';
import { openWeights } from '../checkpoint/weights/weights.ts';
import { graphsOfTask } from '../models/families.ts';
import type { Real } from '../onnx/element-type.ts';
import { encodeModel } from '../onnx/model-proto.ts';

/**
 * Writes the graphs of checkpoints to files, for other tools to read. Weights stay where they are.
 *
 *     npx tsx bench/write-graphs.ts FOLDER float32|float16|bfloat16 CHECKPOINT...
 */

function isReal(text: string): text is Real {
  return text === 'float32' || text === 'float16' || text === 'bfloat16';
}

const [folder = '', precision = '', ...checkpoints] = parseArgs({ allowPositionals: true }).positionals;
if (!isReal(precision)) throw new Error(`Expected a precision float32, float16 or bfloat16, got ${precision}.`);
mkdirSync(folder, { recursive: true });
for (const path of checkpoints) {
  const checkpoint = openCheckpoint(path);
  for (const graph of graphsOfTask(checkpoint, openWeights(checkpoint.folder), { precision })) {
    const file = join(folder, `${basename(path)}.${graph.name}.${precision}.onnx`);
    writeFileSync(file, encodeModel(graph));
    console.log(file);
  }
}
