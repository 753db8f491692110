import { randomUUID } from 'node:crypto';
import { type ErrorCode, HandlerError, toHandlerError } from '../../../protocol/errors.ts';

/** A job, as the platforms see it that have jobs: what it gave, or why it failed, and how long it took. */
export interface Job {
  readonly id: string;
  readonly output: unknown;
  /** `undefined` where it succeeded. */
  readonly error: HandlerError | undefined;
  readonly startedAt: Date;
  readonly endedAt: Date;
}

/** What concerns the request and not the job: a job was not even begun, and the answer is an error as elsewhere. */
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
 * @throws HandlerError when the job was refused; one that fails has an error.
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

/** A client that wants to be called back would wait for ever: nothing is called from here. */
export function refuseWebhook(webhook: unknown): void {
  if (webhook !== undefined && webhook !== null)
    throw new HandlerError(
      'INVALID_REQUEST',
      'Expected no webhook, got one: this service calls nobody back. The answer has the result, or the id to ask for it with.',
    );
}
