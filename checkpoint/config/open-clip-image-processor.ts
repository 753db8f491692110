import type { JsonSection } from '../files/json-file.ts';
import { invalid, readChannelNumbers, readChoice } from '../files/json-section.ts';
import { CLIP_MEAN, type ImageProcessorConfig, type Resize, readDeviation } from './image-processor-config.ts';

/** At inference `random` is bicubic. */
const interpolations = ['bicubic', 'bilinear', 'random'] as const;
const resizeModes = ['shortest', 'squash', 'longest'] as const;

/**
 * Reads `preprocess_cfg` of an open_clip_config.json, as open_clip prepares images for inference (open_clip/transform.py,
 * `image_transform`). Missing keys take its defaults. The size is always the vision model's.
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID`.
 */
export function readOpenClipImageProcessor(section: JsonSection, imageSize: number): ImageProcessorConfig {
  readChoice(section, 'mode', ['RGB'], 'RGB');
  return {
    resize: readResize(section, imageSize),
    rescaleFactor: 1 / 255,
    normalize: {
      mean: readChannelNumbers(forEachChannel(section, 'mean'), 'mean', CLIP_MEAN),
      standardDeviation: readDeviation(forEachChannel(section, 'std'), 'std'),
    },
  };
}

function readResize(section: JsonSection, side: number): Resize {
  const isBilinear = readChoice(section, 'interpolation', interpolations, 'bicubic') === 'bilinear';
  const interpolation = isBilinear ? ({ interpolation: 'bilinear' } as const) : {};
  const mode = readChoice(section, 'resize_mode', resizeModes, 'shortest');
  if (mode === 'longest') throw invalid(section, 'resize_mode', 'shortest or squash; longest is not served', mode);
  if (mode === 'squash') return { kind: 'squash', side, ...interpolation };
  return { kind: 'crop', shortestEdge: side, side, roundsMiddle: true, ...interpolation };
}

/** One number stands for all three channels. */
function forEachChannel(section: JsonSection, key: 'mean' | 'std'): JsonSection {
  const value = section.values[key];
  return typeof value === 'number' ? { ...section, values: { [key]: [value, value, value] } } : section;
}
