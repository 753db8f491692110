import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type JsonObject, readJsonFile } from '../files/json-file.ts';
import { openClipSettingsFiles, qformerTokenizerFiles, settingsFiles } from '../files/settings-files.ts';
import { openClipForms, transformersForms, type WeightsForm, weightsFilesOf } from './weights-files.ts';

/** The library whose files a checkpoint consists of. */
export interface Layout {
  readonly library: 'transformers' | 'open_clip';
  readonly configFile: 'config.json' | 'open_clip_config.json';
  readonly forms: readonly WeightsForm[];
  /** The file in which tools that write a checkpoint put its weights. */
  readonly newWeightsFile: string;
  /** Small files of which a checkpoint may have some, by their paths in its folder. */
  readonly settingsFiles: readonly string[];
}

export const transformersLayout: Layout = {
  library: 'transformers',
  configFile: 'config.json',
  forms: transformersForms,
  newWeightsFile: 'model.safetensors',
  settingsFiles: [...settingsFiles, ...qformerTokenizerFiles],
};

export const openClipLayout: Layout = {
  library: 'open_clip',
  configFile: 'open_clip_config.json',
  forms: openClipForms,
  newWeightsFile: 'open_clip_model.safetensors',
  settingsFiles: openClipSettingsFiles,
};

/**
 * The layout of a folder. Many folders have the files of both libraries: those of transformers are taken where they are a
 * whole model. timm's config.json and model.safetensors beside open_clip's files are the image tower alone.
 * @throws CheckpointError when a config.json beside an open_clip_config.json cannot be read.
 */
export function layoutOf(folder: string): Layout {
  const readConfig = () => readJsonFile(join(folder, transformersLayout.configFile))?.values;
  return chooseLayout((file) => existsSync(join(folder, file)), readConfig);
}

/**
 * The layout of files that may lie elsewhere, as on the Hub.
 * @param readConfig gives the content of config.json. It is asked where the names of the files leave the choice open.
 */
export function chooseLayout(has: (file: string) => boolean, readConfig: () => JsonObject | undefined): Layout {
  if (!has(openClipLayout.configFile)) return transformersLayout;
  if (!has(transformersLayout.configFile)) return openClipLayout;
  const hasWeightsOf = ({ forms }: Layout) => weightsFilesOf(forms).some(has);
  if (!hasWeightsOf(transformersLayout) && hasWeightsOf(openClipLayout)) return openClipLayout;
  return isOfTransformers(readConfig() ?? {}) ? transformersLayout : openClipLayout;
}

/** transformers writes both keys; timm, which writes a config.json too, has `architecture`. */
function isOfTransformers(config: JsonObject): boolean {
  return 'architectures' in config || 'model_type' in config;
}
