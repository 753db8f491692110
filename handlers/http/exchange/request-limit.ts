import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Admission } from '../../service/admission.ts';

/** Bounds how many requests of one token run at a time. */
export interface RequestLimit {
  /**
   * Counts a request from here on, before its body is read.
   * @throws HandlerError `OVERLOADED` when as many of that token run as may.
   */
  admit(token: string | undefined, request: FastifyRequest, reply: FastifyReply): void;
  /** Does what was asked, and counts the request until `work` settles: with a client that leaves, that is at once. */
  handle<T>(request: FastifyRequest, work: (place: Place) => Promise<T>): Promise<T>;
}

/** The place of a request among those of its token that run. */
export interface Place {
  readonly token: string | undefined;
  /**
   * Keeps the place for work that goes on when the request is answered.
   * @returns a function that gives it up; it may be called more than once.
   */
  keep(): () => void;
}

interface Counted {
  readonly token: string | undefined;
  isHandled: boolean;
  /** Stops counting; once, however often it is called. */
  readonly leave: () => void;
}

/** A limit over all routes that share it, by the counts of the doors' admission. */
export function createRequestLimit({ enter }: Pick<Admission, 'enter'>): RequestLimit {
  const counted = new WeakMap<FastifyRequest, Counted>();
  return {
    admit(token, request, reply) {
      const leave = enter(token);
      const entry: Counted = { token, isHandled: false, leave };
      counted.set(request, entry);
      // A body that is refused, or never comes whole, has no handler. This comes after the answer, or instead of it.
      reply.raw.once('close', () => {
        if (!entry.isHandled) leave();
      });
    },
    async handle(request, work) {
      const entry = counted.get(request);
      if (entry === undefined) throw new RangeError('Expected a request that was admitted.');
      const { token, leave } = entry;
      entry.isHandled = true;
      let isKept = false;
      const keep = () => {
        isKept = true;
        return leave;
      };
      try {
        return await work({ token, keep });
      } finally {
        if (!isKept) leave();
      }
    },
  };
}
