import { isJsonObject, type JsonObject, type JsonSection } from '../../../checkpoint/files/json-file.ts';
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
 * The template of a class that has none of its own: that of tokenizer.json. Where there is no such file, `add_bos_token`
 * and `add_eos_token` of tokenizer_config.json make one (`TokenizersBackend.update_post_processor` in transformers).
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`.
 */
export function postProcessorOf({ definition, settings }: TokenizerFiles, tokens: TokenList): JsonObject | null {
  if (definition === undefined) return templateOf(settings, tokens);
  const written = definition.values['post_processor'] ?? null;
  if (written !== null && !isJsonObject(written))
    throw invalidTokenizer(definition.path, 'post_processor to be an object');
  requireHarmless(definition.path, [written]);
  return written;
}

function templateOf({ path, values }: JsonSection, tokens: TokenList): JsonObject {
  const textOf = (key: string, attribute: 'bos_token' | 'eos_token') => {
    const text = values[key] === true ? tokens.textOf(attribute) : undefined;
    if (text === '') throw invalidTokenizer(path, `${attribute} to have letters where ${key} is true`);
    return text === undefined ? [] : [text];
  };
  return template(textOf('add_bos_token', 'bos_token'), textOf('add_eos_token', 'eos_token'));
}
