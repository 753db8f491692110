import { randomUUID } from 'node:crypto';

/** What may stand in a log and in a header. */
const requestIdPattern = /^[\w.:/+=-]{1,128}$/;

/** Source: W3C, Trace Context, section 3.2. */
const traceparentPattern = /^[\da-f]{2}-([\da-f]{32})-[\da-f]{16}-[\da-f]{2}/;

/**
 * The id that a request is logged by.
 * @param given the value of its `x-request-id`; where that may not stand in a log, the id is a new one.
 */
export function requestIdFrom(given: unknown): string {
  return typeof given === 'string' && requestIdPattern.test(given) ? given : randomUUID();
}

/** The id of the trace that a request belongs to, as the value of its `traceparent` says; `undefined` for none. */
export function traceIdFrom(given: unknown): string | undefined {
  return typeof given === 'string' ? traceparentPattern.exec(given)?.[1] : undefined;
}
