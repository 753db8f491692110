import { CheckpointError } from '../errors.ts';
import { describe, isJsonObject, type JsonSection } from '../files/json-file.ts';
import {
  inconsistent,
  invalid,
  readBoolean,
  readChoice,
  readInteger,
  readNumber,
  requireDivisible,
  subsection,
} from '../files/json-section.ts';
import type { ClipConfig, ClipTextConfig } from './clip-config.ts';
import { requireServedParts, unknownKeys } from './open-clip-parts.ts';
import { requireAttentionFits, sizeLimits } from './size-limits.ts';
import type { Activation, VisionConfig } from './vision-config.ts';

/** `nn.LayerNorm`. */
const LAYER_NORM_EPSILON = 1e-5;
/** The tokens of CLIP's byte pair encoding. */
export const CLIP_VOCABULARY_SIZE = 49_408;

/**
 * Reads `model_cfg` of an open_clip_config.json. Missing keys take the defaults of open_clip's `CLIPVisionCfg` and
 * `CLIPTextCfg` (open_clip/model.py). Unknown keys become warnings.
 * @param ownVocabulary whether a tokenizer lies beside the file; CLIP's own is used where none does.
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID`, or `CHECKPOINT_ARCHITECTURE_UNSUPPORTED` for a model that has other
 *   parts than CLIP's two transformers.
 */
export function readOpenClipConfig(file: JsonSection, ownVocabulary: boolean): ClipConfig {
  if (!isJsonObject(file.values['model_cfg'])) throw invalid(file, 'model_cfg', 'an object', file.values['model_cfg']);
  const model = subsection(file, 'model_cfg');
  const [vision, text] = [subsection(model, 'vision_cfg'), subsection(model, 'text_cfg')];
  requireServedParts({ model, vision, text });
  const isQuick = readBoolean(model, 'quick_gelu', false);
  const textConfig = readTextConfig(text, isQuick);
  if (!ownVocabulary) requireClipVocabulary(text, textConfig.vocabularySize);
  return {
    vision: readOpenClipVision(vision, isQuick),
    text: textConfig,
    projectionSize: readInteger(model, 'embed_dim', undefined, 1, sizeLimits.hiddenSize),
    warnings: unknownKeys({ model, vision, text }),
  };
}

function readOpenClipVision(section: JsonSection, isQuick: boolean): VisionConfig {
  const hiddenSize = readInteger(section, 'width', 768, 1, sizeLimits.hiddenSize);
  const headWidth = readInteger(section, 'head_width', 64, 1, sizeLimits.hiddenSize);
  requireDivisible(section, 'width', hiddenSize, 'head_width', headWidth);
  const headCount = hiddenSize / headWidth;
  if (headCount > sizeLimits.heads)
    throw inconsistent(section, `width and head_width to make at most ${sizeLimits.heads} heads`, headCount);
  const imageSize = readSide(section, 'image_size', 224, sizeLimits.imageSide);
  const patchSize = readSide(section, 'patch_size', 16, sizeLimits.patchSide);
  requireDivisible(section, 'image_size', imageSize, 'patch_size', patchSize);
  requireAttentionFits(section, 'image_size and patch_size', (imageSize / patchSize) ** 2 + 1, headCount);
  return {
    ...readLayers(section, hiddenSize, isQuick),
    headCount,
    imageSize,
    positionsImageSize: imageSize,
    patchSize,
  };
}

function readTextConfig(section: JsonSection, isQuick: boolean): ClipTextConfig {
  const hiddenSize = readInteger(section, 'width', 512, 1, sizeLimits.hiddenSize);
  const headCount = readInteger(section, 'heads', 8, 1, sizeLimits.heads);
  const maxPositions = readInteger(section, 'context_length', 77, 1, sizeLimits.positions);
  requireDivisible(section, 'width', hiddenSize, 'heads', headCount);
  requireAttentionFits(section, 'context_length', maxPositions, headCount);
  const vocabularySize = readInteger(section, 'vocab_size', CLIP_VOCABULARY_SIZE, 2, sizeLimits.vocabulary);
  return {
    ...readLayers(section, hiddenSize, isQuick),
    vocabularySize,
    headCount,
    maxPositions,
    pooling: readPooling(section, vocabularySize),
  };
}

function readLayers(section: JsonSection, hiddenSize: number, isQuick: boolean) {
  // `int(width * mlp_ratio)`, as there.
  const intermediateSize = Math.floor(hiddenSize * readNumber(section, 'mlp_ratio', 4));
  if (intermediateSize < 1 || intermediateSize > sizeLimits.intermediateSize)
    throw inconsistent(section, `width * mlp_ratio to be 1 to ${sizeLimits.intermediateSize}`, intermediateSize);
  return {
    hiddenSize,
    intermediateSize,
    layerCount: readInteger(section, 'layers', 12, 1, sizeLimits.layers),
    layerNormEpsilon: readNumber(subsection(section, 'norm_kwargs'), 'eps', LAYER_NORM_EPSILON),
    activation: readActivation(section, isQuick),
  };
}

/** `QuickGELU` has no options. */
function readActivation(section: JsonSection, isQuick: boolean): Activation {
  if (isQuick) return 'quick_gelu';
  const approximate = readChoice(subsection(section, 'act_kwargs'), 'approximate', ['none', 'tanh'], 'none');
  return approximate === 'tanh' ? 'gelu_pytorch_tanh' : 'gelu';
}

/** `argmax` takes the token with the largest id, which is CLIP's end of a text. */
function readPooling(section: JsonSection, vocabularySize: number): ClipTextConfig['pooling'] {
  if (readChoice(section, 'pool_type', ['argmax', 'eos'], 'argmax') === 'argmax') return 'largest-id';
  return { eosTokenId: readInteger(section, 'eos_id', 2, 0, vocabularySize - 1) };
}

/** A number, or a pair of height and width: images are square here. */
function readSide(section: JsonSection, key: 'image_size' | 'patch_size', usual: number, largest: number): number {
  const value = section.values[key];
  if (!Array.isArray(value)) return readInteger(section, key, usual, 1, largest);
  const [height, width]: readonly unknown[] = value;
  if (value.length === 2 && height === width)
    return readInteger({ ...section, values: { [key]: height } }, key, undefined, 1, largest);
  throw inconsistent(section, `${key} of equal sides`, JSON.stringify(value).slice(0, 40));
}

function requireClipVocabulary({ path }: JsonSection, vocabularySize: number): void {
  if (vocabularySize === CLIP_VOCABULARY_SIZE) return;
  throw new CheckpointError(
    'CHECKPOINT_TOKENIZER_INVALID',
    `${path}: expected vocab_size ${CLIP_VOCABULARY_SIZE}, which is CLIP's vocabulary, or the model's own tokenizer.json ` +
      `beside the file, got vocab_size ${describe(vocabularySize)} and no tokenizer.`,
  );
}
