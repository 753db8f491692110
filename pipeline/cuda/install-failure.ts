import { HandlerError } from '../../protocol/errors.ts';

/** @param problem completes the message: "expected …, got …", and what to do. */
export function installFailure(problem: string, options?: ErrorOptions): HandlerError {
  return new HandlerError('PROVIDER_INSTALL_FAILED', problem, options);
}
