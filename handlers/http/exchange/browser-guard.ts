import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { HandlerError } from '../../../protocol/errors.ts';
import { needsNoToken } from '../../service/authorizer.ts';
import type { ServerSettings } from '../../service/server-settings.ts';
import { isAllowedHost, isAllowedOrigin, isOwnOrigin } from '../../service/web-origins.ts';
import { addVary } from './vary.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Whether the route only tells probes that the service lives, under whatever name they know it. */
    readonly isProbe?: boolean;
  }
}

/** Methods and headers that pages of listed origins may use, and headers that they may read. */
const ALLOWED_METHODS = 'GET, HEAD, POST, PUT';
const ALLOWED_HEADERS =
  'authorization, content-type, content-encoding, inference-header-content-length, x-request-id, traceparent, tracestate';
const EXPOSED_HEADERS = 'x-request-id, inference-header-content-length, retry-after, allow';
/** Browsers ask again after this time. */
const PREFLIGHT_SECONDS = '600';

type GuardSettings = Pick<
  ServerSettings,
  'apiTokens' | 'authorizer' | 'vertexPort' | 'vertexAuthorizer' | 'allowedHosts' | 'allowedOrigins'
>;

/**
 * Lets pages of listed origins ask (CORS). A server that needs no token serves whoever reaches it, and a browser on its
 * machine reaches it for every page: such a server refuses other pages, and names that a page's owner could point at this
 * machine (DNS rebinding). Programs send neither `Origin` nor `Sec-Fetch-Site`.
 * Sources: the Fetch standard, CORS protocol; W3C Fetch Metadata Request Headers.
 */
export function addBrowserGuard(server: FastifyInstance, settings: GuardSettings): void {
  const { allowedHosts, allowedOrigins } = settings;
  const isOpen = needsNoToken(settings);
  server.addHook('onRequest', async (request, reply) => {
    const { origin } = request.headers;
    const isListed = allowedOrigins.includes('*') || (origin !== undefined && isAllowedOrigin(origin, allowedOrigins));
    if (origin !== undefined && isListed) {
      reply.header('access-control-allow-origin', origin).header('access-control-expose-headers', EXPOSED_HEADERS);
      if (isPreflight(request)) return await answerPreflight(request, reply);
    }
    // AWS Lambda hands requests to a server that does not listen: no browser reaches it by a name of this machine.
    if (!isOpen || !server.server.listening) return;
    if (request.routeOptions.config.isProbe !== true) requireHost(request, allowedHosts);
    if (!isListed) requireOwnPage(request);
  });
  if (allowedOrigins.length === 0) return;
  server.addHook('onSend', async (_request, reply, payload) => {
    addVary(reply, 'origin');
    return payload;
  });
}

function isPreflight({ method, headers }: FastifyRequest): boolean {
  return method === 'OPTIONS' && headers['access-control-request-method'] !== undefined;
}

async function answerPreflight({ headers }: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  if (headers['access-control-request-private-network'] === 'true')
    reply.header('access-control-allow-private-network', 'true');
  return reply
    .code(204)
    .header('access-control-allow-methods', ALLOWED_METHODS)
    .header('access-control-allow-headers', ALLOWED_HEADERS)
    .header('access-control-max-age', PREFLIGHT_SECONDS)
    .send();
}

/** @throws HandlerError `FORBIDDEN` for a name that is neither this machine's nor listed. */
function requireHost({ headers: { host } }: FastifyRequest, allowedHosts: readonly string[]): void {
  if (host === undefined || isAllowedHost(host, allowedHosts)) return; // Browsers always name the host.
  throw new HandlerError(
    'FORBIDDEN',
    'Expected a request to localhost, as this server needs no token, got one to another host. ' +
      'List the host in BLIP_ALLOWED_HOSTS, or set BLIP_API_TOKENS.',
  );
}

/** @throws HandlerError `FORBIDDEN` for a request that a page of another origin makes. */
function requireOwnPage({ method, headers }: FastifyRequest): void {
  const { origin, host = '' } = headers;
  const site = headers['sec-fetch-site']; // No script can set it.
  const isOwn =
    site === undefined
      ? origin === undefined || isOwnOrigin(origin, host)
      : site === 'same-origin' || site === 'none' || isLink(method, headers);
  if (isOwn) return;
  throw new HandlerError(
    'FORBIDDEN',
    "Expected a request of a program or of this server's own page, as it needs no token, got one of another page. " +
      'List its origin in BLIP_ALLOWED_ORIGINS, or set BLIP_API_TOKENS.',
  );
}

/** Whether a person follows a link to this server. The page with the link does not see the answer. */
function isLink(method: string, headers: FastifyRequest['headers']): boolean {
  const isRead = method === 'GET' || method === 'HEAD';
  return isRead && headers['sec-fetch-mode'] === 'navigate' && headers['sec-fetch-dest'] === 'document';
}
