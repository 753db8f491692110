import { join } from 'node:path';
import { type JsonSection, readJsonFile } from '../files/json-file.ts';
import { inconsistent, subsection } from '../files/json-section.ts';
import { hasVocabulary } from '../files/settings-files.ts';
import { type BlipConfig, readBlipConfig } from './blip-config.ts';
import {
  type Blip2Config,
  type Blip2RetrievalConfig,
  readBlip2Config,
  readBlip2RetrievalConfig,
} from './blip2-config.ts';
import { type ClipConfig, readClipConfig } from './clip-config.ts';
import { type GenerationDefaults, otherSpecialTokens, readGenerationConfig } from './generation-config.ts';
import { misplacedParameters, unreadParameters } from './ignored-parameters.ts';
import { type ImageProcessorConfig, readImageProcessor } from './image-processor-config.ts';
import { readOpenClipConfig } from './open-clip-config.ts';
import { readOpenClipImageProcessor } from './open-clip-image-processor.ts';
import { noTokenRules, type TokenRules } from './token-rules.ts';
import type { VisionConfig } from './vision-config.ts';

/** The settings of any family: what its graphs are written from. */
export interface FamilySettings {
  readonly config: {
    readonly vision: VisionConfig;
    /** Lines for the log: what was assumed, or looks wrong. */
    readonly warnings: readonly string[];
  };
  /** Lines for the log: what the checkpoint's files change that transformers does not read. */
  readonly notices: readonly string[];
}

/** How the checkpoints of a family say what they are. */
export interface Family<Settings extends FamilySettings> {
  /**
   * How images become pixels.
   * @param config the file that `readSettings` reads.
   * @param imageSize of the vision model.
   * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID` or `CHECKPOINT_FILE_UNREADABLE`.
   */
  readonly readImageProcessor: (folder: string, config: JsonSection, imageSize: number) => ImageProcessorConfig;
  /** @throws CheckpointError `CHECKPOINT_CONFIG_INVALID`. */
  readonly readSettings: (folder: string, config: JsonSection) => Settings;
}

export interface BlipSettings extends FamilySettings {
  readonly config: BlipConfig;
  readonly generationDefaults: GenerationDefaults;
  readonly tokenRules: TokenRules;
}

export interface ClipSettings extends FamilySettings {
  readonly config: ClipConfig;
}

/** BLIP-2 or InstructBLIP, with its language model. */
export interface Blip2Settings extends FamilySettings {
  readonly config: Blip2Config;
  readonly generationDefaults: GenerationDefaults;
  readonly tokenRules: TokenRules;
}

export interface Blip2RetrievalSettings extends FamilySettings {
  readonly config: Blip2RetrievalConfig;
}

type ReadImageProcessor = Family<FamilySettings>['readImageProcessor'];

const squashed: ReadImageProcessor = (folder, _config, imageSize) => readImageProcessor(folder, imageSize, 'squash');
const cropped: ReadImageProcessor = (folder, _config, imageSize) => readImageProcessor(folder, imageSize, 'crop');

export const blip: Family<BlipSettings> = {
  readImageProcessor: squashed,
  readSettings(folder, file) {
    const config = readBlipConfig(file);
    const generation = readGenerationConfig(
      subsection(file, 'text_config'),
      readJsonFile(join(folder, 'generation_config.json')),
      config.text,
    );
    return {
      config: { ...config, warnings: [...config.warnings, ...generation.warnings, ...misplacedParameters(file)] },
      generationDefaults: generation.defaults,
      tokenRules: generation.tokenRules,
      notices: generation.notices,
    };
  },
};

export const clip: Family<ClipSettings> = {
  readImageProcessor: cropped,
  readSettings: (_folder, config) => ({ config: readClipConfig(config), notices: [] }),
};

/** CLIP in open_clip's own files. */
export const openClip: Family<ClipSettings> = {
  readImageProcessor: (_folder, file, imageSize) =>
    readOpenClipImageProcessor(subsection(file, 'preprocess_cfg'), imageSize),
  readSettings: (folder, file) => ({ config: readOpenClipConfig(file, hasVocabulary(folder)), notices: [] }),
};

export const blip2 = imageTextFamily(false);
export const instructBlip = imageTextFamily(true);

/**
 * transformers 5 generates with the language model's own defaults, whatever generation_config.json or `text_config` say of
 * beams and lengths: `Blip2ForConditionalGeneration.generate` calls that of the language model.
 */
function imageTextFamily(readsInstruction: boolean): Family<Blip2Settings> {
  return {
    readImageProcessor: squashed,
    readSettings(folder, file) {
      const config = readBlip2Config(file, readsInstruction);
      const textConfig = subsection(file, 'text_config');
      const generationConfig = readJsonFile(join(folder, 'generation_config.json'));
      return {
        config,
        generationDefaults: {},
        tokenRules: noTokenRules,
        notices: [
          ...unreadParameters(textConfig),
          ...(generationConfig === undefined ? [] : generationNotices(generationConfig, config)),
          ...endTokenNotices(textConfig, config),
        ],
      };
    },
  };
}

function generationNotices(generationConfig: JsonSection, { language }: Blip2Config): readonly string[] {
  const used = { eos_token_id: language.endTokenIds[0], pad_token_id: language.padTokenId };
  const start = language.kind === 't5' ? { decoder_start_token_id: language.startTokenId } : {};
  return [...unreadParameters(generationConfig), ...otherSpecialTokens(generationConfig, { ...used, ...start })];
}

function endTokenNotices({ path }: JsonSection, { language: { endTokenIds } }: Blip2Config): readonly string[] {
  const [own, ...others] = endTokenIds;
  if (others.length === 0) return [];
  return [
    `${path}: texts end with token ${others.join(', ')} too: eos_token_id ${own} starts texts in LLaMA's vocabulary.`,
  ];
}

export const blip2Retrieval: Family<Blip2RetrievalSettings> = {
  readImageProcessor: squashed,
  readSettings: (_folder, config) => ({ config: readBlip2RetrievalConfig(config), notices: [] }),
};

/**
 * The decoder of answers reads the question through projections that have the width of the vision model.
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID`.
 */
export function requireEqualWidths({ config: { vision, text } }: BlipSettings, file: JsonSection): void {
  if (vision.hiddenSize === text.hiddenSize) return;
  const expected = 'hidden_size of text_config and vision_config to be equal in a BlipForQuestionAnswering';
  throw inconsistent(file, expected, `${text.hiddenSize} and ${vision.hiddenSize}`);
}
