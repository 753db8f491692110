import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { shippedFile } from '../../../../shipped-files.ts';
import type { DoorContext } from '../../exchange/door.ts';
import { sendJson, sendText } from '../../exchange/reply.ts';
import { shared } from './shared-answer.ts';

/** A page on which a person asks the models about a picture. It uses the same routes as every other client. */

const pageFolder = shippedFile('handlers/http/doors/page-and-docs/page');
const contentTypes = { 'index.html': 'text/html', 'page.css': 'text/css', 'page.js': 'text/javascript' } as const;

/** Allows nothing from other hosts but the picture that a person names. */
const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src * data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Adds the page at `/`, with its style sheet and its script. */
export function addPageRoutes({ routes }: DoorContext): void {
  const page = pageFile('index.html');
  routes.add('/', 'GET', (request, reply) => sendGreeting(request, reply, page));
  for (const name of ['page.css', 'page.js'] as const) {
    const file = pageFile(name);
    routes.add(`/page/${name}`, 'GET', (_request, reply) => file(reply));
  }
}

type SendFile = (reply: FastifyReply) => Promise<FastifyReply>;

/**
 * Answers `GET /`, which several kinds of clients ask: browsers say that they want HTML and get the page; clients of
 * KServe's first protocol say that they want JSON; all others, such as clients of Hugging Face, only want an answer.
 */
function sendGreeting(
  { headers: { accept = '' } }: FastifyRequest,
  reply: FastifyReply,
  page: SendFile,
): FastifyReply | Promise<FastifyReply> {
  reply.header('vary', 'accept');
  if (/\btext\/html\b/i.test(accept)) return page(reply.header('content-security-policy', CONTENT_SECURITY_POLICY));
  return /\bapplication\/json\b/i.test(accept) ? sendJson(reply, { status: 'alive' }) : sendText(reply, 'Ok');
}

/** A function that answers with a file of the page, which it reads once. */
function pageFile(name: keyof typeof contentTypes): SendFile {
  const content = shared(() => readFile(join(pageFolder, name)));
  return async (reply) =>
    reply
      .header('content-type', `${contentTypes[name]}; charset=utf-8`)
      .header('cache-control', 'no-cache')
      .header('x-content-type-options', 'nosniff')
      .send(await content());
}
