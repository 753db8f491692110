import { isJsonObject, type JsonObject } from '../../../checkpoint/files/json-file.ts';
import { requireHarmless } from './harmless-parts.ts';
import type { TokenList } from './special-tokens.ts';
import { invalidTokenizer, type TokenizerFiles } from './tokenizer-files.ts';

/** Puts tokens before a text, and behind it. */
export function template(before: readonly string[], behind: readonly string[]): JsonObject {
  const wrap = (content: string) => ({ SpecialToken: { id: content, type_id: 0 } });
  return {
    type: 'TemplateProcessing',
    single: [...before.map(wrap), { Sequence: { id: 'A', type_id: 0 } }, ...behind.map(wrap)],
    pair: [],
    special_tokens: {},
  };
}

/**
 * The template that `add_bos_token` and `add_eos_token` of tokenizer_config.json make
 * (`TokenizersBackend.update_post_processor` in transformers). One of them is enough, and the other means no token then.
 * @returns `undefined` when neither is there.
 */
export function templateOf({ settings }: TokenizerFiles, tokens: TokenList, path: string): JsonObject | undefined {
  const { values } = settings;
  if (!('add_bos_token' in values) && !('add_eos_token' in values)) return undefined;
  const textOf = (key: string, attribute: 'bos_token' | 'eos_token') => {
    const text = values[key] === true ? tokens.textOf(attribute) : undefined;
    if (text === '') throw invalidTokenizer(path, `${attribute} to have letters where ${key} is true`);
    return text === undefined ? [] : [text];
  };
  return template(textOf('add_bos_token', 'bos_token'), textOf('add_eos_token', 'eos_token'));
}

/**
 * The template of a class that has none of its own: as tokenizer_config.json says, or as tokenizer.json does.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`.
 */
export function postProcessorOf(files: TokenizerFiles, tokens: TokenList, path: string): JsonObject | null {
  const written = files.definition?.values['post_processor'] ?? null;
  if (written !== null && !isJsonObject(written)) throw invalidTokenizer(path, 'post_processor to be an object');
  requireHarmless(path, [written]);
  return templateOf(files, tokens, path) ?? written;
}
