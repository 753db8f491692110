import type { JsonSection } from '../files/json-file.ts';
import { inconsistent } from '../files/json-section.ts';

/**
 * The largest numbers of a config.json that are believed, several times those of published models. A stranger's file
 * with larger ones would make graphs and memory grow without bound.
 */
export const sizeLimits = {
  hiddenSize: 32_768,
  intermediateSize: 131_072,
  layers: 512,
  heads: 256,
  imageSide: 4096,
  patchSide: 256,
  vocabulary: 1_000_000,
  positions: 65_536,
} as const;

/** For one sequence in one layer: a BLIP-large of 480 pixels takes 52 MB. */
const MAX_ATTENTION_BYTES = 2_000_000_000;

/**
 * Attention compares all positions with each other in every head, in float32.
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID` when the scores of one layer would take more than 2 GB.
 */
export function requireAttentionFits(section: JsonSection, keys: string, positions: number, headCount: number): void {
  const bytes = positions ** 2 * headCount * Float32Array.BYTES_PER_ELEMENT;
  if (bytes <= MAX_ATTENTION_BYTES) return;
  const most = Math.floor(Math.sqrt(MAX_ATTENTION_BYTES / Float32Array.BYTES_PER_ELEMENT / headCount));
  const expected = `${keys} to make at most ${most} positions for num_attention_heads ${headCount}`;
  throw inconsistent(section, expected, positions);
}
