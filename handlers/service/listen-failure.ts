import { HandlerError } from '../../protocol/errors.ts';

/**
 * The error of a server that cannot listen, say because another process has its port.
 * @param portVariable names the setting of the port.
 */
export function listenFailure(host: string, port: number, portVariable: string, cause: unknown): HandlerError {
  return new HandlerError('SETTINGS_INVALID', messageOf(host, port, portVariable, cause), { cause });
}

function messageOf(host: string, port: number, portVariable: string, cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  const other = `Set ${portVariable} to another one, or to 0 for any free one.`;
  if (code === 'EADDRINUSE')
    return `Expected ${portVariable} ${port} to be free at ${host}, got a port that another process listens on. ${other}`;
  if (code === 'EACCES')
    return `Expected ${portVariable} ${port} to be a port that this user may listen on, got one that needs more rights. ${other}`;
  const reason = cause instanceof Error ? cause.message : String(cause);
  return `Expected HOST ${host} and ${portVariable} ${port} to be an address to listen on, got: ${reason}. Set another one.`;
}
