import { CheckpointError } from '../errors.ts';
import type { JsonSection } from '../files/json-file.ts';
import {
  blip,
  blip2,
  blip2Retrieval,
  clip,
  type Family,
  type FamilySettings,
  instructBlip,
  openClip,
  requireEqualWidths,
} from './families.ts';
import { type ImageProcessorConfig, resizeTo } from './image-processor-config.ts';
import { atImageSize } from './vision-config.ts';

/** Everything that a checkpoint's JSON files say about its model, except its weights and its tokenizer. */
export type ModelDescription<Task extends string, Settings extends FamilySettings> = Settings & {
  readonly task: Task;
  readonly imageProcessor: ImageProcessorConfig;
};

/** The files to read, and the size of images where it is not the checkpoint's. */
interface Source {
  readonly folder: string;
  readonly config: JsonSection;
  readonly imageSize: number | undefined;
}

/**
 * How checkpoints of one architecture are read.
 * @param check what else must hold for the settings of its family.
 */
function architecture<const Task extends string, Settings extends FamilySettings>(
  task: Task,
  family: Family<Settings>,
  check: (settings: Settings, config: JsonSection) => void = () => undefined,
) {
  return {
    task,
    read({ folder, config, imageSize }: Source): ModelDescription<Task, Settings> {
      const settings = family.readSettings(folder, config);
      check(settings, config);
      const { vision } = settings.config;
      const imageProcessor = family.readImageProcessor(folder, config, vision.imageSize);
      if (imageSize === undefined) return { ...settings, task, imageProcessor };
      const resized = { ...settings.config, vision: atImageSize(vision, imageSize, folder) };
      return { ...settings, task, config: resized, imageProcessor: resizeTo(imageProcessor, imageSize) };
    },
  };
}

/** The architectures that are served, by their names in `architectures` of config.json. */
export const architectures = {
  BlipForConditionalGeneration: architecture('captioning', blip),
  BlipForQuestionAnswering: architecture('question-answering', blip, requireEqualWidths),
  BlipForImageTextRetrieval: architecture('retrieval', blip),
  Blip2ForConditionalGeneration: architecture('image-text-to-text', blip2),
  InstructBlipForConditionalGeneration: architecture('image-text-to-text', instructBlip),
  Blip2ForImageTextRetrieval: architecture('retrieval', blip2Retrieval),
  CLIPModel: architecture('clip', clip),
} as const;

/** CLIP in open_clip's own files, which name no architecture. */
export const openClipModel = architecture('clip', openClip);

export type Architecture = keyof typeof architectures;
export type Task = (typeof architectures)[Architecture]['task'];

/**
 * Finds an architecture that is served in `architectures` of a config.json.
 * @throws CheckpointError `CHECKPOINT_ARCHITECTURE_UNSUPPORTED`, naming what is there and what is supported.
 */
export function findArchitecture(config: JsonSection): Architecture {
  const listed = config.values['architectures'];
  const names: readonly unknown[] = Array.isArray(listed) ? listed : [];
  const supported = Object.keys(architectures) as readonly Architecture[]; // The keys of a constant.
  const served = supported.find((name) => names.includes(name));
  if (served !== undefined) return served;
  const got = names.length > 0 ? names.join(', ') : `none (model_type ${JSON.stringify(config.values['model_type'])})`;
  throw new CheckpointError(
    'CHECKPOINT_ARCHITECTURE_UNSUPPORTED',
    `${config.path}: expected architectures to name one of ${supported.join(', ')}, got ${got}.`,
  );
}
