/**
 * Regexes that known families of tokenizers have, as their tokenizer.json writes them. Their time grows with the length of
 * a text alone: where they look ahead, they do so at the end of a run of white space.
 */
const knownPatterns: ReadonlySet<string> = new Set([
  // GPT-2, RoBERTa, OPT
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
  // Llama 3 and GPT-4
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  // Qwen 2
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
]);

const MAX_PATTERN_CHARACTERS = 1_000;

/** One character, or one of a set: no groups, no references, no assertions. */
const atom = String.raw`(?:\\[sSdDwWrntfv]|\\[pP]\{\w+\}|\\[^\w\s]|\[\^?(?:\\[sSdDwWrntfv]|\\[pP]\{\w+\}|\\[^\w\s]|[^\\[\]&])+\]|[^\\[\](){}*+?.^$|])`;
/**
 * Alternatives of atoms of which the last alone may repeat, so that matching never goes back. At most two may be missing,
 * because each doubles the ways to match.
 */
const alternative = `${atom}*(?:${atom}\\?${atom}*){0,2}${atom}(?:[+]|\\{[1-9]\\d{0,2}(?:,\\d{0,3})?\\})?`;
const plain = new RegExp(`^${alternative}(?:\\|${alternative})*$`, 'u');

/**
 * Whether the time that a regex takes grows with the length of a text alone, and it matches no empty text. A tokenizer
 * of a stranger could otherwise bring one that backtracks for ever. RE2 in JavaScript was not taken: it knows no `(?!…)`,
 * which the known families have.
 */
export function isLinearRegex(pattern: string): boolean {
  return knownPatterns.has(pattern) || (pattern.length <= MAX_PATTERN_CHARACTERS && plain.test(pattern));
}
