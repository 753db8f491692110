import { setImmediate } from 'node:timers/promises';
import { HandlerError } from '../../protocol/errors.ts';
import type { Tokenizer } from './tokenizer.ts';

/** Longer words are one unknown token (WordPiece's `max_input_chars_per_word`). */
const MAX_CHARACTERS_PER_TOKEN = 100;

/**
 * The token ids of a text, with the tokens that the tokenizer puts around it.
 * @param kind what the text is, for messages: `prompt`, `question`, `text`.
 * @throws HandlerError `PROMPT_TOO_LONG`, `INTERNAL` when the tokenizer has tokens that the model lacks.
 */
export function textTokens(
  text: string,
  kind: string,
  model: { readonly maxPositions: number; readonly vocabularySize: number },
  tokenizer: Tokenizer,
): readonly number[] {
  requireCharacters(text, kind, model.maxPositions * MAX_CHARACTERS_PER_TOKEN);
  requireWords(text, kind, model.maxPositions);
  const tokenIds = tokenizer.encode(text);
  const unknown = tokenIds.find((id) => id >= model.vocabularySize);
  if (unknown !== undefined) {
    throw new HandlerError(
      'INTERNAL',
      `Expected the tokenizer to know ${model.vocabularySize} tokens as the model does, got token ${unknown}.`,
    );
  }
  return tokenIds;
}

/** The same, for a model that reads the whole text at once. */
export function encoderTokens(...given: Parameters<typeof textTokens>): readonly number[] {
  const tokenIds = textTokens(...given);
  const [, kind, { maxPositions }] = given;
  if (tokenIds.length <= maxPositions) return tokenIds;
  throw new HandlerError(
    'PROMPT_TOO_LONG',
    `Expected a ${kind} of at most ${maxPositions} tokens, got ${tokenIds.length}.`,
  );
}

/**
 * Makes tokens of texts, one text after the other, and lets other requests have their turns in between: a text of the
 * greatest length takes tens of milliseconds.
 * @throws the signal's reason, when it aborts before all are done; what `read` throws.
 */
export async function readInTurns<Read>(
  texts: readonly string[],
  read: (text: string) => Read,
  signal: AbortSignal | undefined,
): Promise<readonly Read[]> {
  const done: Read[] = [];
  for (const text of texts) {
    if (done.length > 0) await setImmediate();
    signal?.throwIfAborted();
    done.push(read(text));
  }
  return done;
}

/**
 * Every word is a token at least: counting words refuses in a thousandth of the time what would be refused anyway. Only
 * words with an ASCII letter or digit count, and only spaces and line ends part them: normalizers drop some other signs.
 */
function requireWords(text: string, kind: string, maxPositions: number): void {
  const wordCount = text.match(/[a-z0-9][^ \n]*/gi)?.length ?? 0;
  if (wordCount <= maxPositions) return;
  throw new HandlerError(
    'PROMPT_TOO_LONG',
    `Expected a ${kind} of at most ${maxPositions} tokens, got ${wordCount} words.`,
  );
}

/** Splitting megabytes into tokens only to refuse them would hold up every other request. */
function requireCharacters(text: string, kind: string, maxCharacters: number): void {
  if (text.length <= maxCharacters) return;
  throw new HandlerError(
    'PROMPT_TOO_LONG',
    `Expected a ${kind} of at most ${maxCharacters} characters, got ${text.length}.`,
  );
}
