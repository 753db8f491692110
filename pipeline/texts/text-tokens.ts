import { setImmediate } from 'node:timers/promises';
import { HandlerError } from '../../protocol/errors.ts';
import type { Tokenizer } from './tokenizer.ts';

/** WordPiece makes one unknown token of a longer word (`max_input_chars_per_word`). */
const MAX_CHARACTERS_PER_TOKEN = 100;
/** A checkpoint may claim any number of positions. More characters than this would hold up other requests for seconds. */
const MAX_CHARACTERS = 1 << 18;

/** The limits that a model sets to its texts. */
interface TextLimits {
  readonly maxPositions: number;
  readonly vocabularySize: number;
}

/**
 * The token ids of a text, with the tokens that the tokenizer puts around it.
 * @param kind names the text in messages: `prompt`, `question`, `text`.
 * @throws HandlerError `PROMPT_TOO_LONG`; `INTERNAL` when the tokenizer has tokens that the model lacks.
 */
export function textTokens(text: string, kind: string, model: TextLimits, tokenizer: Tokenizer): readonly number[] {
  requireCharacters(text, kind, Math.min(model.maxPositions * MAX_CHARACTERS_PER_TOKEN, MAX_CHARACTERS));
  // T5's normalizer makes words of single characters.
  requireCharacters(text.normalize('NFKC'), kind, MAX_CHARACTERS);
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

/**
 * The token ids of a text for a model that reads all of it at once.
 * @throws HandlerError as `textTokens` does.
 */
export function encoderTokens(text: string, kind: string, model: TextLimits, tokenizer: Tokenizer): readonly number[] {
  const tokenIds = textTokens(text, kind, model, tokenizer);
  const { maxPositions } = model;
  if (tokenIds.length <= maxPositions) return tokenIds;
  throw new HandlerError(
    'PROMPT_TOO_LONG',
    `Expected a ${kind} of at most ${maxPositions} tokens, got ${tokenIds.length}.`,
  );
}

/**
 * Reads one text after the other, and lets other requests have their turns in between: the longest text that is not
 * refused takes tens of milliseconds.
 * @throws the signal's reason, when it aborts before all texts are read; the error of `read`.
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
 * Refuses a text of too many words before the tokenizer reads it, which would take a thousand times as long: every word
 * is at least one token. Only words with an ASCII letter or digit count, and only spaces and line ends separate them,
 * because normalizers drop some other characters.
 */
function requireWords(text: string, kind: string, maxPositions: number): void {
  const wordCount = text.match(/[a-z0-9][^ \n]*/gi)?.length ?? 0;
  if (wordCount <= maxPositions) return;
  throw new HandlerError(
    'PROMPT_TOO_LONG',
    `Expected a ${kind} of at most ${maxPositions} tokens, got ${wordCount} words.`,
  );
}

/** Refuses megabytes of text, whose splitting into tokens would hold up every other request. */
function requireCharacters(text: string, kind: string, maxCharacters: number): void {
  if (text.length <= maxCharacters) return;
  throw new HandlerError(
    'PROMPT_TOO_LONG',
    `Expected a ${kind} of at most ${maxCharacters} characters, got ${text.length}.`,
  );
}
