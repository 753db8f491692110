import type { HandlerError } from '../../protocol/errors.ts';

/** Logs the cause of an error that clients are told nothing of; of all others they are told enough. */
export function logInternal(
  error: HandlerError,
  log: { readonly error: (details: object, message: string) => void },
): void {
  if (error.code === 'INTERNAL') log.error({ err: error.cause ?? error }, 'failed inside');
}
