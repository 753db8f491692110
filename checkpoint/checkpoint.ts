import { statSync } from 'node:fs';
import { join } from 'node:path';
import { type Architecture, readArchitecture, type Task } from './config/architecture.ts';
import { type BlipConfig, readBlipConfig } from './config/blip-config.ts';
import { type ClipConfig, readClipConfig } from './config/clip-config.ts';
import { type GenerationDefaults, readGenerationDefaults } from './config/generation-config.ts';
import { type ImageProcessorConfig, readImageProcessorConfig } from './config/image-processor-config.ts';
import { CheckpointError } from './errors.ts';
import { inconsistent, type JsonSection, readJsonFile, subsection } from './files/json-file.ts';
import { readIsInt8 } from './weights/int8-format.ts';

interface CheckpointFolder {
  readonly folder: string;
  readonly architecture: Architecture;
  readonly imageProcessor: ImageProcessorConfig;
  /** The layers' matrices are int8, as `quantize` makes them. */
  readonly isInt8: boolean;
}

/** A checkpoint of BLIP: captioning, question answering or retrieval. */
export interface BlipCheckpoint extends CheckpointFolder {
  readonly task: Exclude<Task, 'clip'>;
  readonly config: BlipConfig;
  readonly generationDefaults: GenerationDefaults;
}

export interface ClipCheckpoint extends CheckpointFolder {
  readonly task: 'clip';
  readonly config: ClipConfig;
}

/** What a checkpoint folder says, apart from its weights and its tokenizer. Plain data. */
export type Checkpoint = BlipCheckpoint | ClipCheckpoint;

/**
 * Opens a folder in Hugging Face layout. Only the JSON files are read; nothing is written.
 * @param imageSize other than the checkpoint's, in pixels of each side: its position embeddings are interpolated.
 * @throws CheckpointError naming the file, what was expected and what is there.
 */
export function openCheckpoint(folder: string, imageSize?: number): Checkpoint {
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) {
    throw new CheckpointError('CHECKPOINT_NOT_FOUND', `${folder}: expected a checkpoint folder, got no such folder.`);
  }
  const file = readJsonFile(join(folder, 'config.json'));
  if (file === undefined) {
    throw new CheckpointError('CHECKPOINT_CONFIG_INVALID', `${folder}: expected a config.json, got none.`);
  }
  const checkpoint = readCheckpoint(folder, file);
  return imageSize === undefined ? checkpoint : atImageSize(checkpoint, imageSize);
}

function readCheckpoint(folder: string, file: JsonSection): Checkpoint {
  const { architecture, task } = readArchitecture(file);
  const isInt8 = readIsInt8(file);
  const preprocessor = readPreprocessor(folder);
  if (task === 'clip') {
    const config = readClipConfig(file);
    const imageProcessor = readImageProcessorConfig(preprocessor, config.vision.imageSize, 'crop');
    return { folder, architecture, task, config, imageProcessor, isInt8 };
  }
  const config = readBlipConfig(file);
  if (task === 'question-answering') requireEqualWidths(file, config);
  return {
    folder,
    architecture,
    task,
    config,
    isInt8,
    imageProcessor: readImageProcessorConfig(preprocessor, config.vision.imageSize, 'squash'),
    generationDefaults: readGenerationDefaults(
      subsection(file, 'text_config'),
      readJsonFile(join(folder, 'generation_config.json')),
    ),
  };
}

/** What transformers does with `interpolate_pos_encoding=True` and an image processor of that size. */
function atImageSize(checkpoint: Checkpoint, imageSize: number): Checkpoint {
  const { vision } = checkpoint.config;
  if (imageSize % vision.patchSize !== 0) {
    throw new CheckpointError(
      'CHECKPOINT_CONFIG_INVALID',
      `${checkpoint.folder}: expected BLIP_IMAGE_SIZE to be a multiple of patch_size ${vision.patchSize}, got ${imageSize}.`,
    );
  }
  const { resize } = checkpoint.imageProcessor;
  const own = resize && { ...resize, side: imageSize, ...(resize.kind === 'crop' ? { shortestEdge: imageSize } : {}) };
  const imageProcessor = { ...checkpoint.imageProcessor, resize: own };
  const resized = { ...vision, imageSize };
  return checkpoint.task === 'clip'
    ? { ...checkpoint, imageProcessor, config: { ...checkpoint.config, vision: resized } }
    : { ...checkpoint, imageProcessor, config: { ...checkpoint.config, vision: resized } };
}

/** A file of its own, or, as transformers has written it since version 5, a part of processor_config.json. */
function readPreprocessor(folder: string): JsonSection | undefined {
  const own = readJsonFile(join(folder, 'preprocessor_config.json'));
  const processor = own ?? readJsonFile(join(folder, 'processor_config.json'));
  if (own !== undefined || processor?.values['image_processor'] === undefined) return own;
  return subsection(processor, 'image_processor');
}

/** The decoder of answers reads the question through projections that have the width of the vision model. */
function requireEqualWidths(file: JsonSection, { vision, text }: BlipConfig): void {
  if (vision.hiddenSize === text.hiddenSize) return;
  const expected = 'hidden_size of text_config and vision_config to be equal in a BlipForQuestionAnswering';
  throw inconsistent(file, expected, `${text.hiddenSize} and ${vision.hiddenSize}`);
}
