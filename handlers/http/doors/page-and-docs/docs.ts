import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { FastifyInstance, FastifyReply } from 'fastify';
import type InferlessModel from '../../../../app.ts';
import { swaggerUiFolder } from '../../../../app.ts';
import { HandlerError } from '../../../../protocol/errors.ts';
import { sendJson } from '../../exchange/reply.ts';
import { addRoute } from '../../exchange/route.ts';
import { openApiDocument } from './openapi.ts';

/** The description of this service in OpenAPI, for tools, and Swagger UI over it, for people. */

const contentTypes = { 'swagger-ui.css': 'text/css', 'swagger-ui-bundle.js': 'text/javascript' } as const;

/** Swagger UI sets styles, and draws pictures that stand in them. */
const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";

const page = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>blip-handler: API</title>
    <link rel="icon" href="data:,">
    <link rel="stylesheet" href="/docs/swagger-ui.css">
  </head>
  <body>
    <div id="swagger-ui"></div>
    <script src="/docs/swagger-ui-bundle.js"></script>
    <script src="/docs/start.js"></script>
  </body>
</html>
`;

const start = `SwaggerUIBundle({ url: '/openapi.json', dom_id: '#swagger-ui', deepLinking: true });\n`;

/** Adds `/openapi.json`, `/docs`, and what that page loads. */
export function addDocsRoutes(server: FastifyInstance, models: readonly InferlessModel[]): void {
  // BentoML's clients and people look for it under the second name.
  for (const path of ['/openapi.json', '/docs.json'])
    addRoute(server, 'GET', path, (_request, reply) => sendJson(reply, openApiDocument(models)));
  addRoute(server, 'GET', '/docs', (_request, reply) =>
    send(reply.header('content-security-policy', CONTENT_SECURITY_POLICY), 'text/html', page),
  );
  addRoute(server, 'GET', '/docs/start.js', (_request, reply) => send(reply, 'text/javascript', start));
  for (const name of ['swagger-ui.css', 'swagger-ui-bundle.js'] as const)
    addRoute(server, 'GET', `/docs/${name}`, async (_request, reply) =>
      send(reply, contentTypes[name], await read(name)),
    );
}

function send(reply: FastifyReply, contentType: string, content: string | Buffer): FastifyReply {
  return reply
    .header('content-type', `${contentType}; charset=utf-8`)
    .header('x-content-type-options', 'nosniff')
    .send(content);
}

/** @throws HandlerError `NOT_FOUND` where a package was made without them. */
async function read(name: string): Promise<Buffer> {
  try {
    return await readFile(join(swaggerUiFolder(), name));
  } catch (cause) {
    throw new HandlerError('NOT_FOUND', 'Expected Swagger UI in this package, got one without.', { cause });
  }
}
