import { randomInt } from 'node:crypto';
import { HandlerError } from '../../protocol/errors.ts';
import type { GenerationRow, SharedSettings } from '../sessions/generation-batch.ts';
import type { Sequence } from '../sessions/row-batch.ts';
import { bytesOf, MAX_TOKENS_PER_ROW, tokensOf, usualRunBytes } from '../sessions/run-bounds.ts';
import type { BoundedText } from '../sessions/text-size.ts';
import type { Batcher } from '../workers/batcher.ts';
import { type GenerationSettings, newTokenLimit } from './generation-settings.ts';
import type { ItemWork } from './items.ts';

/** The parts of a running model that generate texts. */
export interface GenerationParts {
  /** The text of a sequence, as the task answers with it. */
  readonly decode: (sequence: Sequence) => string;
  readonly batcher: Batcher<GenerationRow, SharedSettings, readonly Sequence[]>;
  readonly text: BoundedText;
  /** The tokens of an image, which the model computes once for all rows about it. */
  readonly imageTokens: number;
  /** The most bytes of caches and scores in one run, where the operator set them. */
  readonly maxRunBytes: number | undefined;
}

/** The start of a generated text, and the texts that encoders read. */
type RowStart = Pick<GenerationRow, 'inputIds' | 'questionIds' | 'instructionIds'>;

/** How texts are generated. All rows of a request share a seed, so that equal prompts draw equal texts. */
export function generationWork(
  readStart: (text: string) => RowStart,
  { maxNewTokens, minNewTokens, seed: requestedSeed, shared }: GenerationSettings,
  { decode, batcher, text, imageTokens, maxRunBytes = usualRunBytes(text) }: GenerationParts,
): ItemWork<GenerationRow, SharedSettings, readonly Sequence[]> {
  const seed = requestedSeed ?? randomInt(2 ** 32);
  return {
    readRow(prompt) {
      const start = readStart(prompt);
      const promptLength = start.inputIds.length;
      const lengths = {
        maxNewTokens: newTokenLimit(maxNewTokens, promptLength, text.maxPositions),
        minNewTokens: newTokenLimit(minNewTokens, promptLength, text.maxPositions),
      };
      requirePositions(promptLength, lengths.maxNewTokens, text);
      const row = { ...start, ...lengths, seed };
      requireBounded(row, shared, text, maxRunBytes);
      return row;
    },
    settings: shared,
    batcher,
    workOf: (rows) => imageTokens + tokensOf(rows, shared, text),
    readResult: (sequences) => ({ texts: sequences.map(decode), sequences }),
  };
}

/** One row is never split, so that it must fit a run. */
function requireBounded(row: GenerationRow, shared: SharedSettings, text: BoundedText, maxRunBytes: number): void {
  const bytes = bytesOf([row], shared, text);
  if (bytes > maxRunBytes) {
    const expected = `the beams and new tokens of one text to take at most ${maxRunBytes} bytes`;
    throw new HandlerError('INVALID_PARAMETER', `Expected ${expected}, got ${bytes}. Ask for fewer of either.`);
  }
  const tokens = tokensOf([row], shared, text);
  if (tokens <= MAX_TOKENS_PER_ROW) return;
  const expected = `one text to take the time of at most ${MAX_TOKENS_PER_ROW} tokens, over all beams and draws`;
  const advice = 'Lower num_beams or max_new_tokens, or set top_k.';
  throw new HandlerError('INVALID_PARAMETER', `Expected ${expected}, got ${tokens}. ${advice}`);
}

/** The last new token needs no position: nothing follows it. */
function requirePositions(
  promptLength: number,
  maxNewTokens: number,
  { maxPositions }: { readonly maxPositions: number },
): void {
  if (maxNewTokens < 1) {
    const expected = 'max_length to be more than the start token and the prompt';
    throw new HandlerError('PROMPT_TOO_LONG', `Expected ${expected}, got no more than their ${promptLength} tokens.`);
  }
  if (promptLength + maxNewTokens - 1 <= maxPositions) return;
  throw new HandlerError(
    'PROMPT_TOO_LONG',
    `Expected the prompt (with its start token, and in BLIP-2 the image) and the new tokens to fit ${maxPositions} positions, \
got ${promptLength} and ${maxNewTokens}.`,
  );
}
