import { openCheckpoint } from '../checkpoint.ts';
import { CheckpointError } from '../errors.ts';
import {
  copySettings,
  totalBytes,
  type WriteOptions,
  writeNewFolder,
  writeWeights,
} from '../new-checkpoint/new-folder.ts';
import type { TensorToWrite } from '../new-checkpoint/write-safetensors.ts';
import { FORMAT, quantizedNames, VERSION } from '../weights/int8-format.ts';
import { layoutOf } from '../weights/layout.ts';
import { openWeights } from '../weights/weights.ts';
import type { Calibration } from './calibration.ts';
import { checkpointTensors, type LanguageModelBits } from './checkpoint-tensors.ts';
import { writeConfig } from './config-text.ts';

export interface QuantizeOptions extends WriteOptions {
  /** How rows look that the image tower reads, by pictures. Without it each row has steps of its own. */
  readonly calibration?: Calibration;
  /** 8 unless it is given. Its head keeps 8. */
  readonly languageModelBits?: LanguageModelBits | undefined;
}

/** The result in numbers. */
export interface QuantizedCheckpoint {
  readonly matrixCount: number;
  /** How many of them have 4 bits. */
  readonly halfByteMatrixCount: number;
  readonly weightsBytes: number;
  readonly sourceBytes: number;
}

/**
 * Makes an int8 checkpoint from one of floats, in the layout that it has, one tensor after the other. The new folder
 * appears only when it is whole.
 * @param target a folder that does not exist yet, or is empty.
 * @throws CheckpointError when the source's configuration or weights cannot be read, a matrix has weights that are not
 *   finite, or it is int8 already, or 4 bits are asked for where there is no language model that could have them; the
 *   reason of `signal`; errors of the file system.
 */
export async function quantizeCheckpoint(
  folder: string,
  target: string,
  options: QuantizeOptions = {},
): Promise<QuantizedCheckpoint> {
  requireFloats(folder);
  const { regions } = openWeights(folder);
  const layout = layoutOf(folder);
  const { configFile } = layout;
  const { calibration, languageModelBits: bits = 8 } = options;
  const tensors = checkpointTensors(regions, bits, calibration?.inputs);
  if (bits === 4) requireHalfBytes(folder, tensors);
  await writeNewFolder(target, async (newFolder) => {
    await writeWeights(newFolder, tensors, options, layout);
    await writeConfig(folder, newFolder, configFile, 'quantization_config', quantizationOf(bits, calibration));
    await copySettings(folder, newFolder, [configFile]);
  });
  const { values, blocks, blocks4Bits } = quantizedNames;
  return {
    matrixCount: countOf(tensors, [values, blocks, blocks4Bits]),
    halfByteMatrixCount: countOf(tensors, [blocks4Bits]),
    weightsBytes: totalBytes(tensors),
    sourceBytes: totalBytes([...regions.values()]),
  };
}

function countOf(tensors: readonly TensorToWrite[], names: readonly string[]): number {
  return tensors.filter(({ name }) => names.includes(name.slice(name.lastIndexOf('.') + 1))).length;
}

/** @throws CheckpointError when the folder cannot be read or is quantized already. */
export function requireFloats(folder: string): void {
  const { quantizedTo } = openCheckpoint(folder);
  if (quantizedTo === undefined) return;
  throw new CheckpointError(
    'CHECKPOINT_CONFIG_INVALID',
    `${folder}: expected a checkpoint of floating point weights, got one of ${quantizedTo}.`,
  );
}

function requireHalfBytes(folder: string, tensors: readonly TensorToWrite[]): void {
  if (countOf(tensors, [quantizedNames.blocks4Bits]) > 0) return;
  throw new CheckpointError(
    'CHECKPOINT_CONFIG_INVALID',
    `${folder}: expected a BLIP-2 or InstructBLIP with a language model for 4 bits, got none. Leave out the 4 bits.`,
  );
}

/** `quantization_config` of config.json. */
function quantizationOf(bits: LanguageModelBits, calibration: Calibration | undefined): object {
  return {
    format: FORMAT,
    version: VERSION,
    image_activations: calibration === undefined ? 'steps by row' : 'fixed steps',
    ...(calibration === undefined ? {} : { calibration_pictures: calibration.pictureCount }),
    ...(bits === 8 ? {} : { language_model_bits: bits }),
  };
}
