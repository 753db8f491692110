import type { IncomingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';

export interface GetOptions {
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

/** An answer of any status. Its body must be read to the end, or given up with `discardBody`. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Readable;
}

/**
 * Sends one GET and follows no redirect.
 * @throws the errors of undici, and the signal's reason.
 */
export type HttpGet = (url: URL, options: GetOptions) => Promise<HttpAnswer>;

/** The value of a header; the first one where the answer has several. */
export function headerValue(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}
