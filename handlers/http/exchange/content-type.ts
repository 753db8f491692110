import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyRequest } from 'fastify';

const given = new WeakMap<IncomingMessage, string>();

/** Clients send JSON under any content type, or none; the body is parsed where it is used, from bytes. */
export function acceptAnyContentType(server: FastifyInstance): void {
  server.addHook('onRequest', async ({ raw }) => {
    given.set(raw, raw.headers['content-type'] ?? '');
    raw.headers['content-type'] = 'application/octet-stream'; // Fastify refuses types that do not parse.
  });
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
}

/** The content type as the client sent it, with its parameters; empty where there was none. */
export function contentTypeOf({ raw }: FastifyRequest): string {
  return given.get(raw) ?? '';
}

/** The same without parameters, in lower case: `image/png`. */
export function mediaTypeOf(request: FastifyRequest): string {
  return (contentTypeOf(request).split(';')[0] ?? '').trim().toLowerCase();
}
