import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { shippedPage } from '../../../../app.ts';
import { addRoute } from '../../exchange/route.ts';

/** A page where a person asks the models about a picture. It asks through the same routes as everyone. */

const contentTypes = { 'index.html': 'text/html', 'page.css': 'text/css', 'page.js': 'text/javascript' } as const;

/** Nothing from elsewhere but the picture that a person names. */
const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src * data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Adds the style sheet and the script of the page. */
export function addPageFiles(server: FastifyInstance): void {
  for (const name of ['page.css', 'page.js'] as const)
    addRoute(server, 'GET', `/page/${name}`, (_request, reply) => sendPageFile(reply, name));
}

/** The page itself: it shares its path with clients that are no browsers. */
export function sendPage(reply: FastifyReply): Promise<FastifyReply> {
  return sendPageFile(reply.header('content-security-policy', CONTENT_SECURITY_POLICY), 'index.html');
}

async function sendPageFile(reply: FastifyReply, name: keyof typeof contentTypes): Promise<FastifyReply> {
  return reply
    .header('content-type', `${contentTypes[name]}; charset=utf-8`)
    .header('cache-control', 'no-cache')
    .header('x-content-type-options', 'nosniff')
    .send(await readFile(join(shippedPage, name)));
}
