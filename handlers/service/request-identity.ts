import { randomUUID } from 'node:crypto';

/** Ids that are safe in a log and in a header. */
const requestIdPattern = /^[\w.:/+=-]{1,128}$/;

/** Source: W3C, Trace Context, section 3.2. */
const traceparentPattern = /^[\da-f]{2}-([\da-f]{32})-[\da-f]{16}-[\da-f]{2}/;

/**
 * The id that a request is logged by.
 * @param header the value of its `x-request-id`. Where it is missing or not safe in a log, the id is a new one.
 */
export function requestIdFrom(header: unknown): string {
  return typeof header === 'string' && requestIdPattern.test(header) ? header : randomUUID();
}

/** The id of the trace that a request belongs to, from the value of its `traceparent`; `undefined` for none. */
export function traceIdFrom(header: unknown): string | undefined {
  return typeof header === 'string' ? traceparentPattern.exec(header)?.[1] : undefined;
}
