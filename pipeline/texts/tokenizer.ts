import { join } from 'node:path';
import { Tokenizer as TokenizerCore } from '@huggingface/tokenizers';
import { CheckpointError } from '../../checkpoint/errors.ts';
import { type JsonObject, readJsonFile } from '../../checkpoint/files/json-file.ts';
import { readBertVocabulary } from './bert-vocabulary.ts';
import { readClipVocabulary } from './clip-vocabulary.ts';

/** Converts text to token ids and back, as the checkpoint's own tokenizer does. */
export interface Tokenizer {
  /** Returns `[CLS]`, the pieces of `text` and `[SEP]`. */
  encode(text: string): readonly number[];
  /** Leaves out special tokens, and ids that the tokenizer does not know, such as `[DEC]`. */
  decode(tokenIds: readonly number[]): string;
}

/**
 * Opens tokenizer.json. For a checkpoint without one, builds its content from vocab.json and merges.txt, or vocab.txt.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`.
 */
export function openTokenizer(folder: string): Tokenizer {
  const settings = readJsonFile(join(folder, 'tokenizer_config.json'), 'CHECKPOINT_TOKENIZER_INVALID')?.values ?? {};
  const definition =
    readJsonFile(join(folder, 'tokenizer.json'), 'CHECKPOINT_TOKENIZER_INVALID')?.values ??
    readClipVocabulary(folder) ??
    readBertVocabulary(folder, settings);
  const core = createCore(folder, definition, settings);
  const knownIds = new Set(core.get_vocab(true).values());
  const options = {
    skip_special_tokens: true,
    clean_up_tokenization_spaces: settings['clean_up_tokenization_spaces'] === true,
  };
  return {
    encode: (text) => core.encode(text).ids,
    decode(tokenIds) {
      const known = tokenIds.filter((id) => knownIds.has(id));
      return known.length === 0 ? '' : core.decode(known, options);
    },
  };
}

function createCore(folder: string, definition: JsonObject, settings: JsonObject): TokenizerCore {
  try {
    return new TokenizerCore(definition, settings);
  } catch (cause) {
    throw new CheckpointError(
      'CHECKPOINT_TOKENIZER_INVALID',
      `${folder}: expected tokenizer.json to describe a tokenizer of the tokenizers library, got one that does not load.`,
      { cause },
    );
  }
}
