import type { Socket } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { errorCodes } from '../../../protocol/errors.ts';

/**
 * Logs and counts requests whose clients left before they had their whole answers, while they were sending or waiting.
 * Nothing went wrong inside, and Fastify logs answers alone.
 * @param isRefused whether a connection was closed because of its client's mistake, which was answered and counted.
 */
export function reportLeftClients(
  server: FastifyInstance,
  isRefused: (socket: Socket) => boolean,
  countAnswer: (status: number) => unknown,
): void {
  server.addHook('onRequest', async (request, reply) => {
    const { socket } = request.raw;
    reply.raw.once('close', () => {
      if (reply.raw.writableFinished || isRefused(socket)) return;
      const statusCode = errorCodes.CANCELLED.http;
      reply.log.info({ req: request, res: { statusCode }, responseTime: reply.elapsedTime }, 'client left');
      countAnswer(statusCode);
    });
  });
}
