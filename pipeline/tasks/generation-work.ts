import { randomInt } from 'node:crypto';
import { HandlerError } from '../../protocol/errors.ts';
import type { GenerationRow, SharedSettings } from '../sessions/generation-batch.ts';
import type { Sequence } from '../sessions/row-batch.ts';
import type { GenerationTexts } from '../texts/generation-texts.ts';
import type { Batcher } from '../workers/batcher.ts';
import { type GenerationSettings, newTokenLimit } from './generation-settings.ts';
import type { ItemWork } from './items.ts';

/** The parts of a running model that generate texts. */
export interface GenerationParts {
  readonly texts: GenerationTexts;
  readonly batcher: Batcher<GenerationRow, SharedSettings, readonly Sequence[]>;
}

/** The start of a generated text, and the question about the image where there is one. */
type RowStart = Pick<GenerationRow, 'inputIds' | 'questionIds'>;

/** How texts are generated. All rows of a request share a seed, so that equal prompts draw equal texts. */
export function generationWork(
  readStart: (text: string) => RowStart,
  { maxNewTokens, minNewTokens, seed: requestedSeed, shared }: GenerationSettings,
  { texts, batcher }: GenerationParts,
): ItemWork<GenerationRow, SharedSettings, readonly Sequence[]> {
  const seed = requestedSeed ?? randomInt(2 ** 32);
  return {
    readRow(text) {
      const start = readStart(text);
      const promptLength = start.inputIds.length;
      const lengths = {
        maxNewTokens: newTokenLimit(maxNewTokens, promptLength),
        minNewTokens: newTokenLimit(minNewTokens, promptLength),
      };
      requirePositions(promptLength, lengths.maxNewTokens, texts);
      return { ...start, ...lengths, seed };
    },
    settings: shared,
    batcher,
    readResult: (sequences) => ({ texts: sequences.map(({ tokenIds }) => texts.decode(tokenIds)), sequences }),
  };
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
    `Expected the prompt and the new tokens to fit ${maxPositions} positions, got ${promptLength} and ${maxNewTokens}.`,
  );
}
