import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { shippedFile } from '../../../../shipped-files.ts';
import type { DoorContext } from '../../exchange/door.ts';
import { sendJson, sendText } from '../../exchange/reply.ts';

/** A page on which a person asks the models about a picture. It uses the same routes as every other client. */

const pageFolder = shippedFile('handlers/http/doors/page-and-docs/page');
const contentTypes = { 'index.html': 'text/html', 'page.css': 'text/css', 'page.js': 'text/javascript' } as const;

/** Allows nothing from other hosts but the picture that a person names. */
const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src * data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Adds the page at `/`, with its style sheet and its script. */
export function addPageRoutes({ routes }: DoorContext): void {
  routes.add('/', 'GET', sendGreeting);
  for (const name of ['page.css', 'page.js'] as const)
    routes.add(`/page/${name}`, 'GET', (_request, reply) => sendPageFile(reply, name));
}

/**
 * Answers `GET /`, which several kinds of clients ask: browsers say that they want HTML and get the page; clients of
 * KServe's first protocol say that they want JSON; all others, such as clients of Hugging Face, only want an answer.
 */
function sendGreeting(
  { headers: { accept = '' } }: FastifyRequest,
  reply: FastifyReply,
): FastifyReply | Promise<FastifyReply> {
  reply.header('vary', 'accept');
  if (/\btext\/html\b/i.test(accept))
    return sendPageFile(reply.header('content-security-policy', CONTENT_SECURITY_POLICY), 'index.html');
  return /\bapplication\/json\b/i.test(accept) ? sendJson(reply, { status: 'alive' }) : sendText(reply, 'Ok');
}

async function sendPageFile(reply: FastifyReply, name: keyof typeof contentTypes): Promise<FastifyReply> {
  return reply
    .header('content-type', `${contentTypes[name]}; charset=utf-8`)
    .header('cache-control', 'no-cache')
    .header('x-content-type-options', 'nosniff')
    .send(await readFile(join(pageFolder, name)));
}
