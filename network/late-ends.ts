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

/** A connection through a tunnel is told of twice. */
const seen = new WeakSet<Socket>();

/** From here on, for all connections of undici in this process. */
export function endConnectionsLate(): void {
  if (!isSubscribed) subscribe(CONNECTED, (message) => endLate(socketOf(message)));
  isSubscribed = true;
}

function socketOf(message: unknown): Socket | undefined {
  if (typeof message !== 'object' || message === null || !('socket' in message)) return undefined;
  return message.socket instanceof Socket ? message.socket : undefined;
}

/** Holds back the end of what is read until a read finds nothing before it. */
function endLate(socket: Socket | undefined): void {
  if (socket === undefined || seen.has(socket)) return;
  seen.add(socket);
  const read = socket.read.bind(socket);
  const push = socket.push.bind(socket);
  let isHeldBack = false;
  socket.push = (chunk, encoding) => {
    if (chunk !== null || socket.listenerCount('readable') === 0) return push(chunk, encoding);
    isHeldBack = true;
    socket._read = () => undefined; // There is nothing more to read.
    socket.emit('readable'); // undici reads, unless it holds up a body.
    return false;
  };
  socket.read = (size) => {
    if (!isHeldBack) return read(size);
    if (size === 0) return null;
    if (socket.readableLength > 0) return read(size);
    isHeldBack = false;
    push(null);
    return null;
  };
}
