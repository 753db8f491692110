import type { FastifyRequest } from 'fastify';
import { isForPeople, lineFormatter } from '../service/log-format.ts';
import { LogOutput } from '../service/log-output.ts';
import type { ServerSettings } from '../service/server-settings.ts';

/** A reply that was sent, or the status of one that was not. */
interface LoggedReply {
  readonly statusCode: number;
  readonly request?: FastifyRequest;
}

/** The options of Fastify's logger: where lines go, in which form, and what they have of a request. */
export function requestLog({ logLevel, logFormat }: Pick<ServerSettings, 'logLevel' | 'logFormat'>) {
  const serializers = isForPeople(logFormat)
    ? { req: loggedRequest, res: loggedReplyAndRequest }
    : { req: loggedRequest };
  return { level: logLevel, stream: new LogOutput(lineFormatter(logFormat)), serializers };
}

/** A request as Fastify logs it, but without its query, which may hold a question or a signature. */
function loggedRequest({ method, url, headers, host, ip, socket }: FastifyRequest) {
  const version = headers['accept-version'];
  return {
    method,
    url: pathOf(url),
    ...(typeof version === 'string' ? { version } : {}),
    host,
    remoteAddress: ip,
    ...(socket.remotePort === undefined ? {} : { remotePort: socket.remotePort }),
  };
}

/** A reply with its request, so that one line says all. */
function loggedReplyAndRequest({ statusCode, request }: LoggedReply) {
  return request === undefined ? { statusCode } : { statusCode, method: request.method, url: pathOf(request.url) };
}

function pathOf(url: string): string {
  return url.split('?', 1)[0] ?? '';
}
