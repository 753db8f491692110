import { HandlerError } from '../../protocol/errors.ts';

/**
 * The error of a server that cannot listen, say because another process has its port.
 * @param portVariable names the setting of the port.
 */
export function listenFailure(host: string, port: number, portVariable: string, cause: unknown): HandlerError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new HandlerError(
    'SETTINGS_INVALID',
    `Expected HOST ${host} and ${portVariable} ${port} to be an address to listen on, got: ${reason}. Set another one.`,
    { cause },
  );
}
