import { randomUUID } from 'node:crypto';
import { type ErrorCode, HandlerError, toHandlerError } from '../../../protocol/errors.ts';

/** A finished job of a platform that has jobs. */
export interface Job {
  readonly id: string;
  readonly output: unknown;
  /** `undefined` when the job succeeded. */
  readonly error: HandlerError | undefined;
  readonly startedAt: Date;
  readonly endedAt: Date;
}

/** Errors of the request, not of the job: no job was begun, and the answer is an error as everywhere else. */
export const refusals: readonly ErrorCode[] = [
  'INVALID_REQUEST',
  'INVALID_INPUT',
  'INVALID_PARAMETER',
  'PROMPT_TOO_LONG',
  'OVERLOADED',
  'NOT_READY',
  'CANCELLED',
];

/**
 * Does the work of a job.
 * @param id a new one, unless the client chose it.
 * @throws HandlerError when the job was refused. A job that fails later has an error instead.
 */
export async function runJob(work: () => Promise<unknown>, id: string = randomUUID()): Promise<Job> {
  const startedAt = new Date();
  try {
    const output = await work();
    return { id, output, error: undefined, startedAt, endedAt: new Date() };
  } catch (thrown) {
    const error = toHandlerError(thrown);
    if (refusals.includes(error.code)) throw error;
    return { id, output: null, error, startedAt, endedAt: new Date() };
  }
}

/**
 * Refuses a client that asks to be called back. This service calls nobody, so that the client would wait for ever.
 * @throws HandlerError `INVALID_REQUEST`.
 */
export function refuseWebhook(webhook: unknown): void {
  if (webhook !== undefined && webhook !== null)
    throw new HandlerError(
      'INVALID_REQUEST',
      'Expected no webhook, got one. This service calls nobody back; its answer has the result, or an id to ask for it.',
    );
}
