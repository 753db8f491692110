import type { JsonObject } from '../../../checkpoint/files/json-file.ts';
import type { AddedToken } from './added-tokens.ts';

/** The parts of a tokenizer, whatever files they come from. */
export interface TokenizerDefinition {
  /** The file of the vocabulary, for messages. */
  readonly path: string;
  /** Changes a text before everything else. */
  readonly clean?: (text: string) => string;
  /** In the form of tokenizer.json, as transformers would write it, but without added tokens. */
  readonly parts: TokenizerParts;
  /** In the order in which they get their ids. */
  readonly addedTokens: readonly AddedToken[];
  /** Ends the tokens of a word, and becomes a space in decoded texts. */
  readonly endOfWord?: string;
  /** Whether spaces before punctuation are removed from decoded texts. */
  readonly cleansSpaces: boolean;
}

/** The parts of tokenizer.json. */
export interface TokenizerParts {
  readonly normalizer: JsonObject | null;
  readonly pre_tokenizer: JsonObject | null;
  readonly post_processor: JsonObject | null;
  readonly decoder: JsonObject | null;
  readonly model: JsonObject;
}
