import type { Blip2Config } from '../../checkpoint/config/blip2-config.ts';
import { HandlerError } from '../../protocol/errors.ts';
import type { GenerationRow } from '../sessions/generation-batch.ts';
import { encoderTokens, textTokens } from './text-tokens.ts';
import type { CheckpointTokenizer } from './tokenizer.ts';

/** The texts that a row begins with. */
export type PromptStart = Pick<GenerationRow, 'inputIds' | 'questionIds' | 'instructionIds'>;

/** How BLIP-2 and InstructBLIP read prompts (transformers' processing_blip_2.py and processing_instructblip.py). */
export interface Blip2Texts {
  readonly padTokenId: number;
  /**
   * @param prompt empty: none.
   * @throws HandlerError `PROMPT_TOO_LONG`; `INVALID_INPUT` where it has the token that stands for the image.
   */
  start(prompt: string): PromptStart;
  /** The text of tokens, without special tokens and those that stand for the image. */
  decode(tokenIds: readonly number[]): string;
}

/** The Q-Former's own tokenizer, in InstructBLIP. */
const INSTRUCTION_FOLDER = 'qformer_tokenizer';

/** @param instructionTokenizer of the Q-Former, where it reads the prompt. */
export function blip2Texts(
  config: Blip2Config,
  tokenizer: CheckpointTokenizer,
  instructionTokenizer: CheckpointTokenizer | undefined,
): Blip2Texts {
  const { language, qFormer, queryCount, imageTokenId } = config;
  const imageToken = tokenizer.addedTokens.find(({ id }) => id === imageTokenId)?.content ?? '<image>';
  const image = Array.from({ length: queryCount }, () => imageTokenId);
  const instructionOf = (prompt: string) =>
    instructionTokenizer === undefined
      ? {}
      : { instructionIds: encoderTokens(prompt, 'prompt', qFormer, instructionTokenizer) };
  return {
    padTokenId: language.padTokenId,
    start(prompt) {
      refuseImageToken(prompt, imageToken);
      const promptIds = textTokens(prompt, 'prompt', language, tokenizer);
      if (language.kind !== 't5') return { inputIds: [...image, ...promptIds], ...instructionOf(prompt) };
      const questionIds = prompt === '' ? [language.bosTokenId] : promptIds;
      return { inputIds: [language.startTokenId], questionIds, ...instructionOf(prompt) };
    },
    decode: (tokenIds) => tokenizer.decode(tokenIds.filter((id) => id !== imageTokenId)).trim(),
  };
}

/** transformers fails on it: it would stand for a vector of the image that there is not. */
function refuseImageToken(prompt: string, imageToken: string): void {
  if (!prompt.includes(imageToken)) return;
  const expected = `a prompt without ${imageToken}, which stands for the image`;
  throw new HandlerError('INVALID_INPUT', `Expected ${expected}. Leave it out: the image comes first by itself.`);
}

/** Where the tokenizer of the Q-Former lies in a checkpoint. */
export function instructionFolderOf({ readsInstruction }: Blip2Config): string | undefined {
  return readsInstruction ? INSTRUCTION_FOLDER : undefined;
}
