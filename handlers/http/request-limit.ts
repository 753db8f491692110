import type { FastifyReply, FastifyRequest } from 'fastify';
import { HandlerError } from '../../protocol/errors.ts';

/** Bounds how many requests of one client run at a time. */
export interface RequestLimit {
  /**
   * Counts a request from here on, before its body is read.
   * @throws HandlerError `OVERLOADED` when as many of that client run as may.
   */
  admit(client: string, request: FastifyRequest, reply: FastifyReply): void;
  /** Does what was asked, and stops counting the request when that is done: also when its client has left before. */
  handle<T>(request: FastifyRequest, work: () => Promise<T>): Promise<T>;
}

interface Counted {
  isHandled: boolean;
  /** Stops counting; once, however often it is called. */
  readonly leave: () => void;
}

/** @param maximum `undefined` for any number. */
export function createRequestLimit(maximum = Number.POSITIVE_INFINITY): RequestLimit {
  const running = new Map<string, number>();
  const counted = new WeakMap<FastifyRequest, Counted>();
  return {
    admit(client, request, reply) {
      const leave = enter(running, client, maximum);
      const entry: Counted = { isHandled: false, leave };
      counted.set(request, entry);
      // A body that is refused, or never comes whole, has no handler. This comes after the answer, or instead of it.
      reply.raw.once('close', () => {
        if (!entry.isHandled) leave();
      });
    },
    async handle(request, work) {
      const entry = counted.get(request);
      if (entry !== undefined) entry.isHandled = true;
      try {
        return await work();
      } finally {
        entry?.leave();
      }
    },
  };
}

function enter(running: Map<string, number>, client: string, maximum: number): () => void {
  const count = running.get(client) ?? 0;
  if (count >= maximum) {
    throw new HandlerError(
      'OVERLOADED',
      `Expected at most ${maximum} requests at a time, got more. Try again when one of them is answered.`,
    );
  }
  running.set(client, count + 1);
  let hasLeft = false;
  return () => {
    if (hasLeft) return;
    hasLeft = true;
    const others = (running.get(client) ?? 1) - 1;
    if (others > 0) running.set(client, others);
    else running.delete(client);
  };
}
