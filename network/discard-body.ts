import type { Readable } from 'node:stream';

/**
 * Gives up the rest of a body at once, because it may never end. Destroying it emits an error, which would be uncaught
 * without the listener.
 */
export function discardBody(body: Readable): void {
  body.on('error', () => undefined).destroy();
}
