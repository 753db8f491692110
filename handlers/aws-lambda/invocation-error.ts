import { CheckpointError } from '../../checkpoint/errors.ts';
import { HandlerError, toHandlerError } from '../../protocol/errors.ts';

/** An error as Lambda reports it: its name is the `errorType`, its message the `errorMessage`. */
export class InvocationError extends Error {
  override readonly name: string;

  constructor(name: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = name;
  }
}

/** The error of an invocation, with our code as `errorType`. Who may invoke the function may see all of it. */
export function invocationError(thrown: unknown): InvocationError {
  const { code, message } = thrown instanceof CheckpointError ? thrown : toHandlerError(thrown);
  return new InvocationError(code, message, { cause: thrown });
}

/** The error for an HTTP client when models are not loaded. It hides the message, which may name folders. */
export function loadError(thrown: unknown): HandlerError {
  const { code } = thrown instanceof CheckpointError ? thrown : toHandlerError(thrown);
  return new HandlerError('NOT_READY', `Expected the models to load, got ${code}. The log says more.`, {
    cause: thrown,
  });
}
