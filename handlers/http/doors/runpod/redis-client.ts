import { createClient } from '@redis/client';

/** The client of Redis. redis-connection.ts imports this file when the first command is sent. */

export type RedisClient = ReturnType<typeof createClient>;

const MAX_RECONNECT_WAIT_MS = 2_000;
/** Commands that wait for their answers. */
const MAX_WAITING_COMMANDS = 10_000;

/** A client that is not connected. Once it is, it connects again by itself; meanwhile its commands fail at once. */
export function makeRedisClient(url: string, connectTimeoutMs: number): RedisClient {
  return createClient({
    url,
    disableOfflineQueue: true,
    commandsQueueMaxLength: MAX_WAITING_COMMANDS,
    socket: {
      connectTimeout: connectTimeoutMs,
      reconnectStrategy: (attempts) => Math.min(100 * (attempts + 1), MAX_RECONNECT_WAIT_MS),
    },
  });
}
