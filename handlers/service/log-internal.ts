import type { HandlerError } from '../../protocol/errors.ts';
import type { Log } from './log.ts';

/** Logs the cause of an internal error, because its client is not told. Messages of all other errors say enough. */
export function logInternal(error: HandlerError, log: Pick<Log, 'error'>): void {
  if (error.code === 'INTERNAL') log.error({ err: error.cause ?? error }, 'failed inside');
}
