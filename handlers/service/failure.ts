import { CheckpointError } from '../../checkpoint/errors.ts';
import { errorBody } from '../../protocol/error-answer.ts';
import { HandlerError } from '../../protocol/errors.ts';

/** A failure for the person who runs the process. Unlike a client, that person may see every message. */
export interface ReportedFailure {
  readonly code: string;
  readonly message: string;
}

/** The code of any thrown value, and its own message. */
export function describeFailure(thrown: unknown): ReportedFailure {
  if (thrown instanceof CheckpointError || thrown instanceof HandlerError) return thrown;
  return { code: 'INTERNAL', message: thrown instanceof Error ? thrown.message : String(thrown) };
}

/** One line of JSON about any thrown value, `{"error": …, "code": …}`, as answers over HTTP have it. */
export function failureLine(thrown: unknown): string {
  return `${JSON.stringify(errorBody(describeFailure(thrown)))}\n`;
}
