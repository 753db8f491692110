import type { SQSRecord } from 'aws-lambda';
import { errorBody } from '../../protocol/error-answer.ts';
import type { HandlerError } from '../../protocol/errors.ts';
import type { InferenceResponse } from '../../protocol/inference-response.ts';

/** What became of a message: an answer, or the error that it will always have. */
export type MessageResult = { readonly record: SQSRecord } & (
  | { readonly response: InferenceResponse }
  | { readonly error: HandlerError }
);

/**
 * Takes each result. A message whose result it refuses, by throwing, is delivered again. SQS may deliver a message
 * twice in any case: `record.messageId` tells.
 */
export type OnResult = (result: MessageResult) => void | Promise<void>;

/** Writes each result to the log, as a line of JSON. */
export const writeResult: OnResult = (result) => {
  const { messageId } = result.record;
  const outcome = 'error' in result ? errorBody(result.error) : { response: result.response };
  process.stdout.write(`${JSON.stringify({ messageId, ...outcome })}\n`);
};
