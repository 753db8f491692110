import { lookup } from 'node:dns';
import { type AddressPolicy, dialableAddresses, type LookupAll, type ResolveName } from './address-guard.ts';
import { DnsNames } from './dns-names.ts';
import type { HttpGet } from './http-get.ts';
import { KeptConnections } from './kept-connections.ts';
import { resolveBy } from './name-resolution.ts';

/** Who resolves names: the system, name servers by their addresses, or those that the system's files name. */
export type NameSource = LookupAll | 'system' | readonly string[];

/**
 * Connections to addresses that a policy allows. They are kept apart by who resolves names and by which hosts may be
 * private: an open connection is used again only under the policy that allowed it.
 */
export class GuardedConnections {
  readonly #getters = new Map<string, HttpGet>();
  readonly #resolvers = new WeakMap<LookupAll, ResolveName>();
  readonly #injected = new WeakMap<ResolveName, Map<string, HttpGet>>();
  readonly #ownNames = new Map<string, DnsNames>();

  /** Sends through connections that `policy` allows. */
  under(policy: AddressPolicy, names: NameSource = []): HttpGet {
    const privateHosts = `${policy.privateHosts} ${policy.silenceMs}`;
    if (typeof names !== 'function') {
      const key = `${names} ${privateHosts}`;
      return kept(this.#getters, key, () => getUnder(policy, this.#resolverOf(names)));
    }
    const resolve = kept(this.#resolvers, names, () => resolveBy(names));
    const getters = kept(this.#injected, resolve, () => new Map<string, HttpGet>());
    return kept(getters, privateHosts, () => getUnder(policy, resolve));
  }

  #resolverOf(names: 'system' | readonly string[]): ResolveName {
    if (names === 'system') return kept(this.#resolvers, lookup, () => resolveBy(lookup));
    const servers = names.length === 0 ? {} : { servers: names };
    return kept(this.#ownNames, names.join(','), () => new DnsNames(servers)).resolve;
  }
}

/** The value of a key, made where there is none. */
function kept<Key, Value>(
  values: { get(key: Key): Value | undefined; set(key: Key, value: Value): unknown },
  key: Key,
  make: () => Value,
): Value {
  const value = values.get(key) ?? make();
  values.set(key, value);
  return value;
}

/** Looks at the addresses of every URL, and dials those and no others. */
function getUnder(policy: AddressPolicy, resolve: ResolveName): HttpGet {
  const connections = new KeptConnections();
  return async (url, options) => {
    const addresses = await dialableAddresses(url.hostname, policy, resolve, options.signal);
    return await connections.get(url, addresses, options);
  };
}
