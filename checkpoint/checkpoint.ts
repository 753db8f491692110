import { statSync } from 'node:fs';
import { join } from 'node:path';
import { type Architecture, type BlipConfig, readArchitecture, readBlipConfig } from './blip-config.ts';
import { CheckpointError } from './errors.ts';
import { type GenerationDefaults, readGenerationDefaults } from './generation-config.ts';
import { type ImageProcessorConfig, readImageProcessorConfig } from './image-processor-config.ts';
import { readJsonFile, subsection } from './json-file.ts';

/** What a checkpoint folder says, apart from its weights and its tokenizer. Plain data. */
export interface Checkpoint {
  readonly folder: string;
  readonly architecture: Architecture;
  readonly config: BlipConfig;
  readonly imageProcessor: ImageProcessorConfig;
  readonly generationDefaults: GenerationDefaults;
}

/**
 * Opens a folder in Hugging Face layout. Only the JSON files are read; nothing is written.
 * @throws CheckpointError naming the file, what was expected and what is there.
 */
export function openCheckpoint(folder: string): Checkpoint {
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) {
    throw new CheckpointError('CHECKPOINT_NOT_FOUND', `${folder}: expected a checkpoint folder, got no such folder.`);
  }
  const configFile = readJsonFile(join(folder, 'config.json'));
  if (configFile === undefined) {
    throw new CheckpointError('CHECKPOINT_CONFIG_INVALID', `${folder}: expected a config.json, got none.`);
  }
  const architecture = readArchitecture(configFile);
  const config = readBlipConfig(configFile);
  return {
    folder,
    architecture,
    config,
    imageProcessor: readImageProcessorConfig(
      readJsonFile(join(folder, 'preprocessor_config.json')),
      config.vision.imageSize,
    ),
    generationDefaults: readGenerationDefaults(
      subsection(configFile, 'text_config'),
      readJsonFile(join(folder, 'generation_config.json')),
    ),
  };
}
