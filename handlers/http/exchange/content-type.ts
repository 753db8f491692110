import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyRequest } from 'fastify';

/** Content types as clients sent them. */
const sentContentTypes = new WeakMap<IncomingMessage, string>();

/** Accepts bodies of any content type as bytes, because clients send JSON under any type or none. Routes parse them. */
export function acceptAnyContentType(server: FastifyInstance): void {
  server.addHook('onRequest', async ({ raw }) => {
    sentContentTypes.set(raw, raw.headers['content-type'] ?? '');
    raw.headers['content-type'] = 'application/octet-stream'; // Fastify refuses types that do not parse.
  });
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
}

/** The content type as the client sent it, with its parameters; empty if there was none. */
export function contentTypeOf({ raw }: FastifyRequest): string {
  return sentContentTypes.get(raw) ?? '';
}

/** The content type without its parameters, in lower case: `image/png`. */
export function mediaTypeOf(request: FastifyRequest): string {
  return (contentTypeOf(request).split(';')[0] ?? '').trim().toLowerCase();
}
