import { lookup } from 'node:dns';
import { Agent } from 'undici';
import { type AddressPolicy, guardedConnector, type LookupAll } from './address-guard.ts';
import { getThrough, type HttpGet } from './http-get.ts';

/** How long an idle connection is kept. */
const KEEP_ALIVE_MS = 4_000;
const MAX_CONNECTIONS_PER_HOST = 32;

/**
 * Connections to addresses that a policy allows. They are kept apart by who looks up names and by which hosts may be
 * private: an open connection is used again only under the policy that allowed it.
 */
export class GuardedConnections {
  readonly #getters = new WeakMap<LookupAll, Map<string, HttpGet>>();

  /** Sends through connections that `policy` allows. @param lookupAll finds addresses; the system does by default. */
  under(policy: AddressPolicy, lookupAll: LookupAll = lookup): HttpGet {
    const getters = this.#getters.get(lookupAll) ?? new Map<string, HttpGet>();
    this.#getters.set(lookupAll, getters);
    const key = policy.privateHosts.join(',');
    const get = getters.get(key) ?? getThrough(openAgent(policy, lookupAll));
    getters.set(key, get);
    return get;
  }
}

function openAgent(policy: AddressPolicy, lookupAll: LookupAll): Agent {
  return new Agent({
    connections: MAX_CONNECTIONS_PER_HOST,
    keepAliveTimeout: KEEP_ALIVE_MS,
    keepAliveMaxTimeout: KEEP_ALIVE_MS, // Hosts may announce a longer one.
    connect: guardedConnector(policy, lookupAll),
  });
}
