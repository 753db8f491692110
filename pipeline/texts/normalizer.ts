import { isJsonObject, type JsonObject } from '../../checkpoint/files/json-file.ts';
import { libraryParts } from './library-parts.ts';
import { charsmapNormalizer, readCharsmap } from './precompiled-charsmap.ts';

/** Changes a text before it is divided. */
export type Normalize = (text: string) => string;

/** Chinese characters that need two code units (tokenizers/src/normalizers/bert.rs, `is_chinese_char`). */
const farChinese =
  /[\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/gu;

/** White space in Unicode's sense, which Rust strips. JavaScript's own has a byte order mark more. */
const spaceBefore = /^\p{White_Space}+/u;
const spaceBehind = /\p{White_Space}+$/u;

/**
 * A normalizer as the tokenizers library has it. The JavaScript library reads no `Precompiled`, makes another lower case of
 * a sigma at the end of a word, strips a byte order mark, and leaves Chinese characters together that need two code units.
 * @param path of the file, for messages.
 * @param part the normalizer's part of tokenizer.json.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`; Error when the library knows no such part.
 */
export function createNormalizer(path: string, part: JsonObject | null): Normalize {
  if (part === null) return (text) => text;
  const { type, normalizers } = part;
  if (type === 'Sequence' && Array.isArray(normalizers)) {
    const steps = normalizers.filter(isJsonObject).map((step) => createNormalizer(path, step));
    return (text) => steps.reduce((normalized, step) => step(normalized), text);
  }
  if (type === 'Precompiled') return charsmapNormalizer(readCharsmap(path, part['precompiled_charsmap']));
  if (type === 'Strip') return stripNormalizer(part);
  return completeNormalizer(libraryNormalizer(part), part);
}

function libraryNormalizer(part: JsonObject): Normalize {
  const { normalizer } = libraryParts({ normalizer: part });
  return (text) => normalizer?.(text) ?? text;
}

function stripNormalizer({ strip_left, strip_right }: JsonObject): Normalize {
  return (text) => {
    const begun = strip_left === true ? text.replace(spaceBefore, '') : text;
    return strip_right === true ? begun.replace(spaceBehind, '') : begun;
  };
}

function completeNormalizer(normalize: Normalize, part: JsonObject): Normalize {
  const { type, lowercase, handle_chinese_chars } = part;
  const lowers = type === 'Lowercase' || (type === 'BertNormalizer' && lowercase === true);
  const dividesChinese = handle_chinese_chars === true;
  return (text) => {
    const lowered = lowers ? text.replaceAll('Σ', 'σ') : text;
    return normalize(dividesChinese ? lowered.replace(farChinese, ' $& ') : lowered);
  };
}
