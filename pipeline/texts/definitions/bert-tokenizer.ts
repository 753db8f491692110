import type { JsonObject } from '../../../checkpoint/files/json-file.ts';
import { requireFew } from './added-tokens.ts';
import { readTokenList, type TokenSource } from './special-tokens.ts';
import { template } from './template.ts';
import type { TokenizerDefinition } from './tokenizer-definition.ts';
import { modelOf, readText, requireVocabulary, type TokenizerFiles } from './tokenizer-files.ts';

const usualTokens = {
  unk_token: '[UNK]',
  sep_token: '[SEP]',
  pad_token: '[PAD]',
  cls_token: '[CLS]',
  mask_token: '[MASK]',
};

/**
 * Describes a `BertTokenizer` of transformers (models/bert/tokenization_bert.py). Of tokenizer.json only vocabulary and
 * added tokens count, as there: tokenizer_config.json decides on capitals, accents and Chinese.
 * @returns `undefined` when the folder has neither tokenizer.json nor vocab.txt.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`.
 */
export function describeBertTokenizer(files: TokenizerFiles): TokenizerDefinition | undefined {
  const source = readVocabulary(files);
  if (source === undefined) return undefined;
  const { path, vocabulary } = source;
  const { values } = files.settings;
  const tokens = readTokenList(files, usualTokens);
  return {
    path,
    parts: {
      normalizer: normalizerOf(values),
      pre_tokenizer: { type: 'BertPreTokenizer' },
      post_processor: template([tokens.required('cls_token', source)], [tokens.required('sep_token', source)]),
      decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
      model: {
        type: 'WordPiece',
        unk_token: tokens.required('unk_token', source),
        continuing_subword_prefix: '##',
        max_input_chars_per_word: 100,
        vocab: vocabulary,
      },
    },
    addedTokens: requireFew(tokens.added, files.settings.path),
    cleansSpaces: values['clean_up_tokenization_spaces'] === true,
  };
}

function readVocabulary({ folder, definition }: TokenizerFiles): TokenSource | undefined {
  if (definition !== undefined) {
    const { path } = definition;
    return { path, vocabulary: requireVocabulary(path, modelOf(definition)['vocab']) };
  }
  const text = readText(folder, 'vocab.txt');
  if (text === undefined) return undefined;
  // As the tokenizers library reads it: a token a line, without white space behind it.
  const lines = text.replace(/\r?\n$/, '').split('\n');
  const vocabulary = Object.fromEntries(lines.map((line, id) => [line.trimEnd(), id]));
  return { path: `${folder}/vocab.txt`, vocabulary };
}

function normalizerOf(settings: JsonObject): JsonObject {
  const lowercase = settings['do_lower_case'] !== false;
  return {
    type: 'BertNormalizer',
    clean_text: true,
    handle_chinese_chars: settings['tokenize_chinese_chars'] !== false,
    strip_accents: settings['strip_accents'] ?? null,
    lowercase,
  };
}
