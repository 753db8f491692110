import type { FastifyReply } from 'fastify';

/** Says to caches that the answer depends on a header of the request, beside those that were named before. */
export function addVary(reply: FastifyReply, header: string): void {
  const others = reply.getHeader('vary');
  reply.header('vary', others === undefined ? header : `${others}, ${header}`);
}
