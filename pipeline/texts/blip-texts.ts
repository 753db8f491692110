import type { TextConfig } from '../../checkpoint/config/blip-config.ts';
import { HandlerError } from '../../protocol/errors.ts';
import type { GenerationTexts } from './generation-texts.ts';
import { encoderTokens, textTokens } from './text-tokens.ts';
import { type Tokenizer, UNKNOWN_ID } from './tokenizer.ts';

/** How BLIP reads texts (transformers' models/blip/modeling_blip.py). Its decoder begins with [DEC]. */
export function blipTexts(config: TextConfig, tokenizer: Tokenizer): GenerationTexts {
  const { bosTokenId, maxPositions, padTokenId } = config;
  const unwritten = unwrittenTokens(config, tokenizer);
  return {
    maxPositions,
    padTokenId,
    /** [CLS] becomes [DEC], and the final [SEP] is left out, as in `BlipForConditionalGeneration.generate`. */
    captionStart: (prompt) => ({
      inputIds: [bosTokenId, ...textTokens(prompt, 'prompt', config, tokenizer).slice(1, -1)],
    }),
    /** An answer begins with [DEC] alone; the encoder reads the question (`BlipForQuestionAnswering.generate`). */
    answerStart: (question, questionStart) => ({
      inputIds: [bosTokenId],
      questionIds: questionTokens(question, questionStart, config, tokenizer),
    }),
    /** [DEC], the answer and [SEP]. */
    candidate: (answer) => [bosTokenId, ...encoderTokens(answer, 'candidate', config, tokenizer).slice(1)],
    decode: (tokenIds) => tokenizer.decode(tokenIds.filter((id) => !unwritten.has(id))),
  };
}

/** [DEC] begins answers and is no part of them; nor is [ENC] where the tokenizer lacks it, as published ones do. */
function unwrittenTokens({ bosTokenId }: TextConfig, tokenizer: Tokenizer): ReadonlySet<number> {
  const isEncUnknown = tokenizer.decode([bosTokenId + 1]) === UNKNOWN_ID;
  return new Set([bosTokenId, ...(isEncUnknown ? [bosTokenId + 1] : [])]);
}

/** [CLS], the question and [SEP]; or [ENC] in place of [CLS]. */
function questionTokens(
  question: string,
  questionStart: '[CLS]' | '[ENC]',
  config: TextConfig,
  tokenizer: Tokenizer,
): readonly number[] {
  const [start = config.bosTokenId, ...rest] = encoderTokens(question, 'question', config, tokenizer);
  return [questionStart === '[ENC]' ? encTokenId(config) : start, ...rest];
}

/** [ENC] was added to the vocabulary right after [DEC] (salesforce/BLIP, `init_tokenizer`). */
function encTokenId({ bosTokenId, vocabularySize }: TextConfig): number {
  if (bosTokenId + 1 < vocabularySize) return bosTokenId + 1;
  throw new HandlerError('INVALID_PARAMETER', 'Expected a checkpoint with the token [ENC] for this preset, got none.');
}
