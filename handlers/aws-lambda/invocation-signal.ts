import { AsyncLocalStorage } from 'node:async_hooks';
import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify';

/** The signal of the invocation that a request belongs to. `inject` takes a signal too, but ignores it after the body. */
const invocation = new AsyncLocalStorage<AbortSignal>();

/** Ends requests with their invocations. Routes see a client that has left, so that waiting work is dropped. */
export function heedInvocations(server: FastifyInstance): void {
  server.addHook('onRequest', async (_request, reply) => {
    invocation.getStore()?.addEventListener('abort', () => void reply.raw.destroy(), { once: true });
  });
}

/** Hands a request to the routes, until the signal aborts. */
export async function injectUntil(
  until: AbortSignal,
  server: FastifyInstance,
  request: InjectOptions,
): Promise<LightMyRequestResponse> {
  return await invocation.run(until, async () => await server.inject(request));
}
