import { join } from 'node:path';
import { CheckpointError } from '../../checkpoint/errors.ts';
import { type JsonObject, readTextFile } from '../../checkpoint/files/json-file.ts';

/** Token ids by their tokens. */
type Vocabulary = Readonly<Record<string, number>>;

/** The texts of the special tokens. */
interface SpecialTokens {
  readonly unknown: string;
  readonly start: string;
  readonly end: string;
  readonly padding: string;
  readonly mask: string;
}

/**
 * Reads vocab.txt, as transformers' `BertTokenizer` does (models/bert/tokenization_bert.py).
 * @param settings of tokenizer_config.json.
 * @returns the definition of a tokenizer, in the form of tokenizer.json.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`.
 */
export function readBertVocabulary(folder: string, settings: JsonObject): JsonObject {
  const path = join(folder, 'vocab.txt');
  const text = readTextFile(path);
  if (text === undefined) {
    throw new CheckpointError(
      'CHECKPOINT_TOKENIZER_INVALID',
      `${folder}: expected tokenizer.json, vocab.json with merges.txt, or vocab.txt, got none of them.`,
    );
  }
  const tokens = text.replace(/\r?\n$/, '').split(/\r?\n/);
  const vocabulary = Object.fromEntries(tokens.map((token, id) => [token, id]));
  const special = specialTokens(settings);
  requireTokens(path, vocabulary, special);
  return {
    added_tokens: Object.values(special).map((content) => ({
      id: vocabulary[content],
      content,
      special: true,
      normalized: false,
    })),
    normalizer: normalizerOf(settings),
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: postProcessorOf(vocabulary, special),
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: special.unknown,
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: vocabulary,
    },
  };
}

function specialTokens(settings: JsonObject): SpecialTokens {
  const token = (key: string, usual: string) => (typeof settings[key] === 'string' ? settings[key] : usual);
  return {
    unknown: token('unk_token', '[UNK]'),
    start: token('cls_token', '[CLS]'),
    end: token('sep_token', '[SEP]'),
    padding: token('pad_token', '[PAD]'),
    mask: token('mask_token', '[MASK]'),
  };
}

/** @throws CheckpointError when the vocabulary lacks a special token. */
function requireTokens(path: string, vocabulary: Vocabulary, special: SpecialTokens): void {
  const missing = Object.values(special).find((content: string) => vocabulary[content] === undefined);
  if (missing !== undefined) {
    throw new CheckpointError('CHECKPOINT_TOKENIZER_INVALID', `${path}: expected the token ${missing}, got none.`);
  }
}

function normalizerOf(settings: JsonObject): JsonObject {
  return {
    type: 'BertNormalizer',
    clean_text: true,
    handle_chinese_chars: settings['tokenize_chinese_chars'] !== false,
    strip_accents: settings['strip_accents'] ?? null,
    lowercase: settings['do_lower_case'] !== false,
  };
}

/** Puts the start token before a text, and the end token behind it. */
function postProcessorOf(vocabulary: Vocabulary, { start, end }: SpecialTokens): JsonObject {
  const wrap = (content: string) => ({ SpecialToken: { id: content, type_id: 0 } });
  return {
    type: 'TemplateProcessing',
    single: [wrap(start), { Sequence: { id: 'A', type_id: 0 } }, wrap(end)],
    pair: [],
    special_tokens: Object.fromEntries(
      [start, end].map((content) => [content, { id: content, ids: [vocabulary[content]], tokens: [content] }]),
    ),
  };
}
