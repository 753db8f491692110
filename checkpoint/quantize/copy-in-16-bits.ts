import { join } from 'node:path';
import { readJsonFile } from '../files/json-file.ts';
import {
  copiedTensor,
  copySettings,
  totalBytes,
  type WriteOptions,
  writeNewFolder,
  writeWeights,
} from '../new-checkpoint/new-folder.ts';
import type { TensorToWrite } from '../new-checkpoint/write-safetensors.ts';
import { layoutOf } from '../weights/layout.ts';
import type { TensorRegion } from '../weights/safetensors.ts';
import { openWeights, readStoredTensors } from '../weights/weights.ts';
import { writeConfig } from './config-text.ts';
import { isUnused } from './needless-tensors.ts';
import { requireFloats } from './quantize-checkpoint.ts';
import { type CopyPrecision, tensorIn } from './tensor-in-16-bits.ts';

export interface CopyOptions extends WriteOptions {
  readonly precision: CopyPrecision;
}

export interface CopiedCheckpoint {
  readonly weightsBytes: number;
  readonly sourceBytes: number;
}

/**
 * Tensors that stay in float32 in a copy in float16, as transformers keeps them there: what the Q-Former is made of, and
 * the product behind T5's feed-forward layers, whose rows reach more than 65504.
 * Source: `_keep_in_fp32_modules` of models/blip_2/modeling_blip_2.py and models/t5/modeling_t5.py.
 */
const keptInFloat32 = /^(?:query_tokens$|qformer\.)|^language_model\..*\.DenseReluDense\.wo\.weight$/;

/**
 * Copies a checkpoint of floats with its weights in 16 bits, one tensor after the other. The new folder appears only when
 * it is whole. Weights in 16 bits of either kind are converted as well.
 * @param target a folder that does not exist yet, or is empty.
 * @throws CheckpointError when the source cannot be read or is int8, or a weight is too large for float16; the reason of
 *   `signal`; errors of the file system.
 */
export async function copyIn16Bits(folder: string, target: string, options: CopyOptions): Promise<CopiedCheckpoint> {
  requireFloats(folder);
  const layout = layoutOf(folder);
  // open_clip reads the copy as well, by its own names.
  const regions = layout.library === 'open_clip' ? readStoredTensors(folder) : openWeights(folder).regions;
  const tensors = [...regions].flatMap(([name, region]) =>
    isUnused(regions, name) ? [] : [tensorOf(options.precision, name, region)],
  );
  await writeNewFolder(target, async (newFolder) => {
    await writeWeights(newFolder, tensors, options, layout);
    await copySettings(folder, newFolder);
    // open_clip's configuration names no precision.
    if (layout.library === 'transformers')
      await writeConfig(folder, newFolder, layout.configFile, precisionKey(folder), options.precision);
  });
  return { weightsBytes: totalBytes(tensors), sourceBytes: totalBytes([...regions.values()]) };
}

function tensorOf(precision: CopyPrecision, name: string, region: TensorRegion): TensorToWrite {
  const isKept = precision === 'float16' && keptInFloat32.test(name) && region.dtype === 'F32';
  return isKept ? copiedTensor(name, region) : tensorIn(precision, name, region);
}

/** The key of transformers 5 where the file has it; all versions read the other. */
function precisionKey(folder: string): 'dtype' | 'torch_dtype' {
  return 'dtype' in (readJsonFile(join(folder, 'config.json'))?.values ?? {}) ? 'dtype' : 'torch_dtype';
}
