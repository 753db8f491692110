import { join } from 'node:path';
import { Tokenizer as TokenizerCore } from '@huggingface/tokenizers';
import { CheckpointError } from '../../checkpoint/errors.ts';
import { type JsonObject, readJsonFile, readTextFile } from '../../checkpoint/files/json-file.ts';
import { readClipVocabulary } from './clip-vocabulary.ts';

/** Text to token ids and back, as the checkpoint's own tokenizer does it. */
export interface Tokenizer {
  /** `[CLS]`, the pieces of `text`, `[SEP]`. */
  encode(text: string): readonly number[];
  /** Special tokens, and ids that the tokenizer does not know (such as `[DEC]`), are left out. */
  decode(tokenIds: readonly number[]): string;
}

/**
 * Opens tokenizer.json, or builds the same from vocab.json and merges.txt, or vocab.txt, where a checkpoint has only those.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`.
 */
export function openTokenizer(folder: string): Tokenizer {
  const settings = readJsonFile(join(folder, 'tokenizer_config.json'), 'CHECKPOINT_TOKENIZER_INVALID')?.values ?? {};
  const definition =
    readJsonFile(join(folder, 'tokenizer.json'), 'CHECKPOINT_TOKENIZER_INVALID')?.values ??
    readClipVocabulary(folder) ??
    readVocabulary(folder, settings);
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

/** What transformers' `BertTokenizer` makes of a vocab.txt (models/bert/tokenization_bert.py). */
function readVocabulary(folder: string, settings: JsonObject): JsonObject {
  const text = readTextFile(join(folder, 'vocab.txt'));
  if (text === undefined) {
    throw new CheckpointError(
      'CHECKPOINT_TOKENIZER_INVALID',
      `${folder}: expected tokenizer.json, vocab.json with merges.txt, or vocab.txt, got none of them.`,
    );
  }
  const tokens = text.replace(/\r?\n$/, '').split(/\r?\n/);
  const vocabulary = Object.fromEntries(tokens.map((token, id) => [token, id]));
  const token = (key: string, usual: string) => (typeof settings[key] === 'string' ? settings[key] : usual);
  const [unknown, start, end] = [token('unk_token', '[UNK]'), token('cls_token', '[CLS]'), token('sep_token', '[SEP]')];
  const special = [unknown, start, end, token('pad_token', '[PAD]'), token('mask_token', '[MASK]')];
  const missing = special.find((content) => vocabulary[content] === undefined);
  if (missing !== undefined) {
    throw new CheckpointError(
      'CHECKPOINT_TOKENIZER_INVALID',
      `${join(folder, 'vocab.txt')}: expected the token ${missing}, got none.`,
    );
  }
  const lowercase = settings['do_lower_case'] !== false;
  const wrap = (content: string) => ({ SpecialToken: { id: content, type_id: 0 } });
  return {
    added_tokens: special.map((content) => ({ id: vocabulary[content], content, special: true, normalized: false })),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: settings['tokenize_chinese_chars'] !== false,
      strip_accents: settings['strip_accents'] ?? null,
      lowercase,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [wrap(start), { Sequence: { id: 'A', type_id: 0 } }, wrap(end)],
      pair: [],
      special_tokens: Object.fromEntries(
        [start, end].map((content) => [content, { id: content, ids: [vocabulary[content]], tokens: [content] }]),
      ),
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: unknown,
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: vocabulary,
    },
  };
}
