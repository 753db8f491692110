import type { SQSRecord } from 'aws-lambda';
import { errorBody } from '../../protocol/error-answer.ts';
import type { HandlerError } from '../../protocol/errors.ts';
import type { InferenceResponse } from '../../protocol/inference-response.ts';

/** The result of a message: an answer, or an error that every further try would have. */
export type MessageResult = { readonly record: SQSRecord } & (
  | { readonly response: InferenceResponse }
  | { readonly error: HandlerError }
);

/**
 * Takes each result. It refuses one by throwing; the message is then delivered again. SQS may deliver any message twice;
 * `record.messageId` identifies it.
 */
export type OnResult = (result: MessageResult) => void | Promise<void>;

/** Writes each result to the log, as a line of JSON. */
export const writeResult: OnResult = (result) => {
  const { messageId } = result.record;
  const outcome = 'error' in result ? errorBody(result.error) : { response: result.response };
  process.stdout.write(`${JSON.stringify({ messageId, ...outcome })}\n`);
};
