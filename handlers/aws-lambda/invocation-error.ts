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

/** Our code as `errorType`, for those who may see everything: whoever invokes the function, and its owner. */
export function invocationError(thrown: unknown): InvocationError {
  const { code, message } = thrown instanceof CheckpointError ? thrown : toHandlerError(thrown);
  return new InvocationError(code, message, { cause: thrown });
}

/** Why models are not loaded, for anyone: folders are nobody else's business. */
export function loadError(thrown: unknown): HandlerError {
  const { code } = thrown instanceof CheckpointError ? thrown : toHandlerError(thrown);
  return new HandlerError('NOT_READY', `Expected the models to load, got ${code}. The log says more.`, {
    cause: thrown,
  });
}
