import type { JsonSection } from '../files/json-file.ts';
import { inconsistent } from '../files/json-section.ts';

/** The parts that every language model behind a Q-Former has, under names that they share. */
export interface LanguageModelConfig {
  readonly vocabularySize: number;
  /** Width of the embeddings that the model reads. */
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  /** Layers of the decoder. */
  readonly layerCount: number;
  readonly headCount: number;
  readonly headSize: number;
  /** Heads of keys and values; some models have fewer than heads of queries. */
  readonly keyValueHeadCount: number;
  /** The most positions of image, prompt and new tokens. */
  readonly maxPositions: number;
  readonly bosTokenId: number;
  readonly padTokenId: number;
  /** Any of them ends a text. */
  readonly endTokenIds: readonly [number, ...number[]];
}

/** @throws CheckpointError `CHECKPOINT_CONFIG_INVALID` when an id is not below the size of the vocabulary. */
export function requireInVocabulary(section: JsonSection, key: string, id: number, vocabularySize: number): number {
  if (id < vocabularySize) return id;
  throw inconsistent(section, `${key} to be below vocab_size ${vocabularySize}`, id);
}
