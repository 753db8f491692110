import type { LookupAddress, LookupAllOptions } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';
import { buildConnector } from 'undici';

/** Which hosts images may be fetched from. Names are exact, or `*.` and a domain, or `*` for all. */
export interface AddressPolicy {
  /** Only these hosts; empty for all that have a public address. */
  readonly allowedHosts: readonly string[];
  /** Hosts that may have an address which is not public: private, loopback, link-local. */
  readonly privateHosts: readonly string[];
}

/** Finds all addresses of a name, as `lookup` of node:dns does. */
export type LookupAll = (
  host: string,
  options: LookupAllOptions,
  callback: (error: Error | null, addresses: LookupAddress[]) => void,
) => void;

/** A host that must not be reached. The address is not in the message: it may be one of this network. */
export class BlockedAddressError extends Error {
  override readonly name = 'BlockedAddressError';
}

/** Public by its number, but Azure's own service inside every machine of that cloud. */
const AZURE_WIRE_SERVER = '168.63.129.16';
/** The only part of IPv6 that is given to the public (RFC 4291; IANA's registry of global unicast). */
const GLOBAL_UNICAST = ipaddr.IPv6.parseCIDR('2000::/3');

/**
 * Whether an address belongs to the public internet. IPv4 inside IPv6 counts as what it is; forms that carry an IPv4
 * address in disguise (6to4, Teredo, NAT64, ISATAP) are not public.
 */
export function isPublicAddress(address: string): boolean {
  if (isIP(address) === 0) return false;
  const parsed = ipaddr.process(address);
  if (parsed.range() !== 'unicast') return false;
  if (parsed instanceof ipaddr.IPv6) return parsed.match(GLOBAL_UNICAST) && !isIsatap(parsed);
  return parsed.toString() !== AZURE_WIRE_SERVER;
}

/** RFC 5214: the last 64 bits are 0000:5efe or 0200:5efe and an IPv4 address. */
function isIsatap({ parts }: ipaddr.IPv6): boolean {
  return parts[5] === 0x5efe && (parts[4] === 0 || parts[4] === 0x200);
}

/** Whether a host is one of a list of names. */
export function isListed(host: string, names: readonly string[]): boolean {
  const own = plainHost(host);
  return names.some((name) => {
    const listed = plainHost(name);
    return listed === '*' || own === listed || (listed.startsWith('*.') && own.endsWith(listed.slice(1)));
  });
}

/**
 * Opens connections for undici, to addresses that the policy allows only. Here and not before, because this is what is
 * really dialled: numbers in any spelling, redirects, and each answer of a name that changes its mind.
 * @param lookupAll asked once for each connection; the addresses it gives are those that are dialled.
 */
export function guardedConnector(policy: AddressPolicy, lookupAll: LookupAll): buildConnector.connector {
  const connect = buildConnector({ lookup: guardedLookup(policy, lookupAll) } as buildConnector.BuildOptions); // For net.connect.
  return (options, callback) => {
    const host = plainHost(options.hostname);
    if (isIP(host) !== 0 && !mayDial(host, [host], policy)) {
      callback(new BlockedAddressError('The address is not public.'), null);
      return;
    }
    connect(options, callback);
  };
}

/** One answer that is not public spoils all: which of them is dialled is not ours to choose. */
function guardedLookup(policy: AddressPolicy, lookupAll: LookupAll): LookupFunction {
  return (host, options, callback) => {
    lookupAll(host, { ...options, all: true }, (error, addresses) => {
      const [first] = addresses ?? [];
      if (error !== null || first === undefined) {
        callback(error ?? new Error('The name has no address.'), '');
      } else if (
        !mayDial(
          host,
          addresses.map(({ address }: LookupAddress) => address),
          policy,
        )
      ) {
        callback(new BlockedAddressError('The name has an address that is not public.'), '');
      } else if (options.all === true) {
        callback(null, addresses);
      } else {
        callback(null, first.address, first.family);
      }
    });
  };
}

function mayDial(host: string, addresses: readonly string[], { privateHosts }: AddressPolicy): boolean {
  return isListed(host, privateHosts) || addresses.every(isPublicAddress);
}

/** Lower case, without the brackets of IPv6 and the dot at the end. */
function plainHost(host: string): string {
  return host
    .toLowerCase()
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '');
}
