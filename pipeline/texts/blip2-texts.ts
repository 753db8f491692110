import type { Blip2Config } from '../../checkpoint/config/blip2-config.ts';
import { IMAGE_TOKEN, refuseImageToken } from './image-token.ts';
import { encoderTokens, textTokens } from './text-tokens.ts';
import type { CheckpointTokenizer } from './tokenizer.ts';

/** The tokens that a generated text begins with, and those that encoders read. */
export interface PromptStart {
  readonly inputIds: readonly number[];
  /** T5's encoder reads the prompt. */
  readonly questionIds?: readonly number[];
  /** InstructBLIP's Q-Former reads it too, in tokens of its own. */
  readonly instructionIds?: readonly number[];
}

/** How BLIP-2 and InstructBLIP read prompts (transformers' processing_blip_2.py and processing_instructblip.py). */
export interface Blip2Texts {
  readonly padTokenId: number;
  /**
   * @param prompt empty: none.
   * @throws HandlerError `PROMPT_TOO_LONG`; `INVALID_INPUT` where it has the token that stands for the image.
   */
  start(prompt: string): PromptStart;
  /** The text of tokens, without special tokens, those that stand for the image, and ids that have no token. */
  decode(tokenIds: readonly number[]): string;
}

/** @param instructionTokenizer of the Q-Former, where it reads the prompt. */
export function blip2Texts(
  config: Blip2Config,
  tokenizer: CheckpointTokenizer,
  instructionTokenizer: CheckpointTokenizer | undefined,
): Blip2Texts {
  const { language, qFormer, queryCount } = config;
  const imageToken = imageTokenOf(config, tokenizer);
  const besideImage = { ...language, maxPositions: language.maxPositions - queryCount };
  const image = Array.from({ length: queryCount }, () => imageToken.id);
  const instructionOf = (prompt: string) =>
    instructionTokenizer === undefined
      ? {}
      : { instructionIds: encoderTokens(prompt, 'prompt for the Q-Former', qFormer, instructionTokenizer) };
  return {
    padTokenId: language.padTokenId,
    start(prompt) {
      refuseImageToken(prompt, 'prompt', imageToken.content);
      if (language.kind !== 't5') {
        const promptIds = textTokens(prompt, 'prompt', besideImage, tokenizer);
        return { inputIds: [...image, ...promptIds], ...instructionOf(prompt) };
      }
      const questionIds =
        prompt === '' ? [language.bosTokenId] : encoderTokens(prompt, 'prompt', besideImage, tokenizer);
      return { inputIds: [language.startTokenId], questionIds, ...instructionOf(prompt) };
    },
    decode: (tokenIds) =>
      stripped(tokenizer.decode(tokenIds.filter((id) => id !== imageToken.id && tokenizer.has(id)))),
  };
}

/** Python's `str.strip` takes them for space, and `trim` does not. */
const SEPARATORS = '\u001c\u001d\u001e\u001f\u0085';
/** The other way round. */
const BYTE_ORDER_MARK = '\ufeff';

function isPythonSpace(character: string): boolean {
  return SEPARATORS.includes(character) || (character !== BYTE_ORDER_MARK && character.trim() === '');
}

/** The text without space at its ends: transformers' examples call `strip`. */
function stripped(text: string): string {
  const isText = (character: string) => !isPythonSpace(character);
  const characters = text.split('');
  return text.slice(Math.max(0, characters.findIndex(isText)), characters.findLastIndex(isText) + 1);
}

/** Files of 2023 name no token for the image, and their tokenizers may have none. Any other token does then. */
function imageTokenOf({ imageTokenId, language }: Blip2Config, { addedTokens }: CheckpointTokenizer) {
  const known = addedTokens.find(({ id, content }) =>
    imageTokenId === undefined ? content === IMAGE_TOKEN : id === imageTokenId,
  );
  return known ?? { id: imageTokenId ?? language.padTokenId, content: IMAGE_TOKEN };
}
