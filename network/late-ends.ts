import { subscribe } from 'node:diagnostics_channel';
import { Socket } from 'node:net';

/**
 * Lets a connection say its end when its bytes are read, not before. undici 7 asserts that nothing holds up a body at the
 * end of a connection, and a server or proxy that closes while the disk is slow would end this process (nodejs/undici,
 * "Uncatchable AssertionError: assert(!this.paused) on socket end"). undici 8 has no such assertion, and needs Node 22.
 */

/** undici tells of each connection that it opened: its documentation, "Diagnostics Channel Support". */
const CONNECTED = 'undici:client:connected';

let isSubscribed = false;

/** From here on, for all connections of undici in this process. */
export function endConnectionsLate(): void {
  if (!isSubscribed) subscribe(CONNECTED, (message) => endLate(socketOf(message)));
  isSubscribed = true;
}

function socketOf(message: unknown): Socket | undefined {
  if (typeof message !== 'object' || message === null || !('socket' in message)) return undefined;
  return message.socket instanceof Socket ? message.socket : undefined;
}

/** When the end has come, Node reads 0 bytes, only so that the stream says it at once. */
function endLate(socket: Socket | undefined): void {
  if (socket === undefined) return;
  const read = socket.read.bind(socket);
  const push = socket.push.bind(socket);
  let hasEnded = false;
  socket.push = (chunk, encoding) => {
    hasEnded ||= chunk === null;
    return push(chunk, encoding);
  };
  socket.read = (size) => (hasEnded && size === 0 ? null : read(size));
}
