/**
 * How a family of models turns the texts of a request into tokens, and tokens back into text. The tasks that generate
 * know of families no more than this.
 */
export interface GenerationTexts {
  /** The most positions of prompt and new tokens. */
  readonly maxPositions: number;
  /** Stands where a shorter text of a request has no tokens. */
  readonly padTokenId: number;
  /** @throws HandlerError `PROMPT_TOO_LONG`. */
  captionStart(prompt: string): TextStart;
  /**
   * @param questionStart the question's first token, where the original BLIP and transformers differ.
   * @throws HandlerError `PROMPT_TOO_LONG`; `INVALID_PARAMETER` when the checkpoint lacks the first token.
   */
  answerStart(question: string, questionStart: '[CLS]' | '[ENC]'): AnswerStart;
  /**
   * All tokens of one possible answer.
   * @throws HandlerError `PROMPT_TOO_LONG`.
   */
  candidate(answer: string): readonly number[];
  /** The text of generated tokens, without special tokens. */
  decode(tokenIds: readonly number[]): string;
}

/** The tokens that a generated text begins with. */
export interface TextStart {
  readonly inputIds: readonly number[];
}

/** An answer begins with `inputIds`; an encoder reads `questionIds` before. */
export interface AnswerStart extends TextStart {
  readonly questionIds: readonly number[];
}
