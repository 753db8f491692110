import type { JsonSection } from '../files/json-file.ts';
import { readChoice, readInteger, readNumber, requireDivisible } from '../files/json-section.ts';
import { requireAttentionFits, sizeLimits } from './size-limits.ts';
import { type Activation, activations } from './vision-config.ts';

/** `qformer_config`: BERT whose query vectors look at an image in some layers. */
export interface QFormerConfig {
  readonly vocabularySize: number;
  readonly hiddenSize: number;
  /** Width of the vision states that cross-attention reads: the vision model's, whatever the section says. */
  readonly encoderHiddenSize: number;
  readonly intermediateSize: number;
  readonly layerCount: number;
  readonly headCount: number;
  readonly maxPositions: number;
  readonly layerNormEpsilon: number;
  readonly activation: Activation;
  /** Layers 0, n, 2n, … have cross-attention. */
  readonly crossAttentionFrequency: number;
}

/**
 * Reads a `qformer_config`. Missing keys take the defaults of transformers' `Blip2QFormerConfig`
 * (models/blip_2/configuration_blip_2.py).
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID`.
 */
export function readQFormerConfig(section: JsonSection, encoderHiddenSize: number): QFormerConfig {
  const config = {
    vocabularySize: readInteger(section, 'vocab_size', 30_522, 2, sizeLimits.vocabulary),
    hiddenSize: readInteger(section, 'hidden_size', 768, 1, sizeLimits.hiddenSize),
    encoderHiddenSize,
    intermediateSize: readInteger(section, 'intermediate_size', 3072, 1, sizeLimits.intermediateSize),
    layerCount: readInteger(section, 'num_hidden_layers', 12, 1, sizeLimits.layers),
    headCount: readInteger(section, 'num_attention_heads', 12, 1, sizeLimits.heads),
    maxPositions: readInteger(section, 'max_position_embeddings', 512, 1, sizeLimits.positions),
    layerNormEpsilon: readNumber(section, 'layer_norm_eps', 1e-12),
    activation: readChoice(section, 'hidden_act', activations, 'gelu'),
    crossAttentionFrequency: readInteger(section, 'cross_attention_frequency', 2, 1, sizeLimits.layers),
  };
  requireDivisible(section, 'hidden_size', config.hiddenSize, 'num_attention_heads', config.headCount);
  requireAttentionFits(section, 'max_position_embeddings', config.maxPositions, config.headCount);
  return config;
}
