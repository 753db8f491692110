import { CheckpointError, type CheckpointErrorCode } from '../errors.ts';

/** Shorter texts are parsed within half a second and 250 MB, whatever they hold. */
const MAX_UNCOUNTED_CHARACTERS = 4_000_000;
/** A vocabulary of 250,000 tokens with as many merges has fewer. */
const MAX_VALUES = 1_600_000;

/**
 * Parses JSON of a stranger. Values take many times the memory of their text, so those of a long text are counted before.
 * @throws CheckpointError with this code, when it does not parse or has too many values.
 */
export function parseJson(path: string, text: string, code: CheckpointErrorCode, expected = 'JSON'): unknown {
  if (text.length > MAX_UNCOUNTED_CHARACTERS && countValues(text) > MAX_VALUES)
    throw new CheckpointError(code, `${path}: expected ${expected} of at most ${MAX_VALUES} values, got more.`);
  try {
    return JSON.parse(text);
  } catch (cause) {
    const isWhole = /[}\]]\s*$/.test(text.slice(-100));
    const got = isWhole ? 'text that does not parse' : `the beginning of a file, ${text.length} characters`;
    throw new CheckpointError(code, `${path}: expected ${expected}, got ${got}. Download it again.`, { cause });
  }
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
