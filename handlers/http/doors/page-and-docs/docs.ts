import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { FastifyReply } from 'fastify';
import type Handler from '../../../../app.ts';
import { HandlerError } from '../../../../protocol/errors.ts';
import { shippedFile } from '../../../../shipped-files.ts';
import type { DoorContext } from '../../exchange/door.ts';
import { sendEncoded } from '../../exchange/reply.ts';
import { openApiDocument } from './openapi.ts';
import { shared } from './shared-answer.ts';

/** The description of this service: as OpenAPI for tools, and in Swagger UI for people. */

const contentTypes = { 'swagger-ui.css': 'text/css', 'swagger-ui-bundle.js': 'text/javascript' } as const;

/** Swagger UI sets styles inline, and its style sheet has pictures as data: URIs. */
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

/** Adds `/openapi.json`, `/docs`, and the files that this page loads. */
export function addDocsRoutes({ routes, models }: DoorContext): void {
  const description = descriptionOf(models);
  // BentoML's clients and its users look for the second name.
  for (const path of ['/openapi.json', '/docs.json'])
    routes.add(path, 'GET', (_request, reply) => sendEncoded(reply, { body: description(), jsonLength: undefined }));
  const [pageBytes, startBytes] = [Buffer.from(page), Buffer.from(start)];
  routes.add('/docs', 'GET', (_request, reply) =>
    send(reply.header('content-security-policy', CONTENT_SECURITY_POLICY), 'text/html', pageBytes),
  );
  routes.add('/docs/start.js', 'GET', (_request, reply) => send(reply, 'text/javascript', startBytes));
  for (const name of ['swagger-ui.css', 'swagger-ui-bundle.js'] as const) {
    const content = shared(() => read(name));
    routes.add(`/docs/${name}`, 'GET', async (_request, reply) => send(reply, contentTypes[name], await content()));
  }
}

/** The description of the models that are loaded. It is made anew only when another model is. */
function descriptionOf(models: readonly Handler[]): () => Buffer {
  let loaded: readonly unknown[] = [];
  let bytes: Buffer | undefined;
  return () => {
    const nowLoaded = models.map(({ model }) => model);
    const isSame = nowLoaded.every((model, index) => model === loaded[index]);
    if (bytes === undefined || !isSame) bytes = Buffer.from(JSON.stringify(openApiDocument(models)));
    loaded = nowLoaded;
    return bytes;
  };
}

function send(reply: FastifyReply, contentType: string, content: Buffer): FastifyReply {
  return reply
    .header('content-type', `${contentType}; charset=utf-8`)
    .header('x-content-type-options', 'nosniff')
    .send(content);
}

/** The folder of Swagger UI: copied beside the bundle; in the sources, where npm installed it. */
function swaggerUiFolder(): string {
  const copied = shippedFile('swagger-ui');
  return existsSync(copied) ? copied : shippedFile('node_modules/swagger-ui-dist');
}

/** @throws HandlerError `NOT_FOUND` where the package was built without Swagger UI. */
async function read(name: string): Promise<Buffer> {
  try {
    return await readFile(join(swaggerUiFolder(), name));
  } catch (cause) {
    throw new HandlerError('NOT_FOUND', 'Expected a package with Swagger UI, got one without.', { cause });
  }
}
