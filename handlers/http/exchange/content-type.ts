import type { FastifyInstance, FastifyRequest, RequestPayload } from 'fastify';
import { readBody } from './body-reader.ts';

/** Accepts bodies of any content type as bytes, because clients send JSON under any type or none. Routes parse them. */
export function acceptAnyContentType(server: FastifyInstance): void {
  server.addHook('onRequest', async ({ raw }) => {
    raw.headers['content-type'] = 'application/octet-stream'; // Fastify refuses types that do not parse.
  });
  server.removeAllContentTypeParsers();
  server.addContentTypeParser(
    '*',
    async (request: FastifyRequest, payload: RequestPayload) =>
      await readBody(request, payload, (bytes) => request.admitted?.body.hold(bytes)),
  );
}

/** The content type as the client sent it, with its parameters; empty if there was none. */
export function contentTypeOf({ raw: { rawHeaders } }: FastifyRequest): string {
  // Names and values by turns. The parsed headers have another type, which the hook above wrote.
  const index = rawHeaders.findIndex((text, position) => position % 2 === 0 && text.toLowerCase() === 'content-type');
  return index === -1 ? '' : (rawHeaders[index + 1] ?? '');
}

/** The content type without its parameters, in lower case: `image/png`. */
export function mediaTypeOf(request: FastifyRequest): string {
  return (contentTypeOf(request).split(';')[0] ?? '').trim().toLowerCase();
}
