import type { LookupAll, ResolveName } from './address-guard.ts';
import { HostFailure } from './host-failure.ts';

/** Codes of getaddrinfo and of c-ares for a name that does not exist or has no address. */
const unknownNameCodes: ReadonlySet<unknown> = new Set(['ENOTFOUND', 'ENODATA', 'EBADNAME', 'EBADQUERY', 'EAI_NODATA']);

/** Resolves names with a function like `lookup` of node:dns. An abort leaves it running, and ends the waiting. */
export function resolveBy(lookupAll: LookupAll): ResolveName {
  return (host, { signal }) =>
    new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const give = () => reject(signal.reason);
      signal.addEventListener('abort', give, { once: true });
      lookupAll(host, { all: true }, (error, addresses) => {
        signal.removeEventListener('abort', give);
        if (error === null) resolve(addresses);
        else reject(nameFailure(error));
      });
    });
}

/** The failure that an error of node:dns means. */
export function nameFailure(cause: Error): HostFailure {
  const isUnknown = 'code' in cause && unknownNameCodes.has(cause.code);
  return new HostFailure(isUnknown ? 'no-address' : 'names-unanswered', { cause });
}
