import type { FastifyReply } from 'fastify';
import { HandlerError } from '../../../protocol/errors.ts';

/** A signal that aborts when the client leaves before it has its answer, so that work for nobody can be dropped. */
export function clientSignal({ raw }: FastifyReply): AbortSignal {
  const gone = new AbortController();
  const leave = () => {
    if (raw.writableFinished) return;
    gone.abort(new HandlerError('CANCELLED', 'Expected the client to wait for its answer, but it left.'));
  };
  if (raw.closed) leave();
  else raw.once('close', leave);
  return gone.signal;
}
