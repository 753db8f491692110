import { isJsonObject, type JsonObject } from '../../checkpoint/files/json-file.ts';

/** Chinese characters that need two code units (tokenizers/src/normalizers/bert.rs, `is_chinese_char`). */
const farChinese =
  /[\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/gu;

/**
 * Completes a normalizer of @huggingface/tokenizers where it differs from the tokenizers library: JavaScript makes another
 * lower case of a sigma at the end of a word, and the library leaves Chinese characters together that need two code units.
 * @param part the normalizer's part of tokenizer.json.
 */
export function completeNormalizer(
  normalize: ((text: string) => string) | null,
  part: JsonObject | null,
): (text: string) => string {
  if (normalize === null || part === null) return (text) => text;
  const parts = [part, ...(Array.isArray(part['normalizers']) ? part['normalizers'] : [])].filter(isJsonObject);
  const lowers = parts.some(
    ({ type, lowercase }) => type === 'Lowercase' || (type === 'BertNormalizer' && lowercase === true),
  );
  const dividesChinese = parts.some((each) => each['handle_chinese_chars'] === true);
  return (text) => {
    const lowered = lowers ? text.replaceAll('Σ', 'σ') : text;
    return normalize(dividesChinese ? lowered.replace(farChinese, ' $& ') : lowered);
  };
}
