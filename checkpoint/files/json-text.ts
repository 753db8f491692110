import { CheckpointError, type CheckpointErrorCode } from '../errors.ts';

/** Shorter texts are parsed within half a second and 250 MB, whatever they hold. */
const MAX_UNCOUNTED_CHARACTERS = 4_000_000;
/** A vocabulary of 250,000 tokens with as many merges has fewer. */
const MAX_VALUES = 1_600_000;

/**
 * Parses JSON of a stranger, as Python reads it. Values take many times the memory of their text, so those of a long text
 * are counted before.
 * @throws CheckpointError with this code, when it does not parse or has too many values.
 */
export function parseJson(path: string, text: string, code: CheckpointErrorCode, expected = 'JSON'): unknown {
  if (text.length > MAX_UNCOUNTED_CHARACTERS && countValues(text) > MAX_VALUES)
    throw new CheckpointError(code, `${path}: expected ${expected} of at most ${MAX_VALUES} values, got more.`);
  try {
    return parseAsPython(text);
  } catch (cause) {
    if (text.startsWith('\ufeff'))
      throw new CheckpointError(
        code,
        `${path}: expected ${expected}, got a byte order mark. Save it as UTF-8 without one.`,
      );
    throw new CheckpointError(code, `${path}: expected ${expected}, got ${partOf(text)}. Download it again.`, {
      cause,
    });
  }
}

function partOf(text: string): string {
  if (!/^\s*[{[]/.test(text)) return `other text of ${text.length} characters`;
  return /[}\]]\s*$/.test(text.slice(-100))
    ? 'text that does not parse'
    : `the beginning of a file, ${text.length} characters`;
}

/** Python writes and reads numbers that JSON has not. NaN becomes a text, so that no number is read from it. */
const pythonNumbers: Readonly<Record<string, string>> = { NaN: '"NaN"', Infinity: '1e999', '-Infinity': '-1e999' };

function parseAsPython(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    if (!/NaN|Infinity/.test(text)) throw cause;
  }
  let isInString = false;
  const written = text.replace(/\\.|"|-?Infinity\b|\bNaN\b/g, (part) => {
    if (part === '"') isInString = !isInString;
    return isInString ? part : (pythonNumbers[part] ?? part);
  });
  return JSON.parse(written);
}

/** Every value but the first follows a comma or a bracket. Those in strings are counted too. */
function countValues(text: string): number {
  let count = 0;
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (code === 0x2c || code === 0x5b || code === 0x7b) count += 1;
  }
  return count;
}
