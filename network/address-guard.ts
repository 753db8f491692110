import type { LookupAddress, LookupAllOptions } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';
import { buildConnector } from 'undici';

/** Which addresses may be dialled. */
export interface AddressPolicy {
  /**
   * Hosts that may have an address which is not public: private, loopback, link-local. Names are exact, or `*.` and a
   * domain, or `*` for all.
   */
  readonly privateHosts: readonly string[];
}

/** Finds all addresses of a name, as `lookup` of node:dns does. */
export type LookupAll = (
  host: string,
  options: LookupAllOptions,
  callback: (error: Error | null, addresses: LookupAddress[]) => void,
) => void;

/** A host that must not be reached. The message leaves out the address, which may be one of this network. */
export class BlockedAddressError extends Error {
  override readonly name = 'BlockedAddressError';
}

/** A public number that Azure uses for its own service inside every machine of that cloud. */
const AZURE_WIRE_SERVER = '168.63.129.16';
/** IANA gives out public IPv6 addresses from this block only (RFC 4291; IANA's registry of global unicast). */
const GLOBAL_UNICAST = ipaddr.IPv6.parseCIDR('2000::/3');

/**
 * Whether an address belongs to the public internet. An IPv4-mapped IPv6 address counts as its IPv4 address. Forms that
 * hide an IPv4 address (6to4, Teredo, NAT64, ISATAP) are not public.
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

/** Whether a list of names has a host. */
export function isListed(host: string, names: readonly string[]): boolean {
  const plain = plainHost(host);
  return names.some((name) => {
    const pattern = plainHost(name);
    return pattern === '*' || plain === pattern || (pattern.startsWith('*.') && plain.endsWith(pattern.slice(1)));
  });
}

/**
 * Opens connections for undici, only to addresses that the policy allows. The check happens here because these are the
 * addresses that are dialled, however a URL spells them, wherever it redirects, and even if a name changes its answer.
 * @param lookupAll asked once for each connection; the addresses that it returns are those that are dialled.
 */
export function guardedConnector(policy: AddressPolicy, lookupAll: LookupAll): buildConnector.connector {
  // The type lacks `lookup`, but undici passes all options on to net.connect and tls.connect, which read it.
  const connect = buildConnector({ lookup: guardedLookup(policy, lookupAll) } as buildConnector.BuildOptions);
  return (options, callback) => {
    const host = plainHost(options.hostname);
    if (isIP(host) !== 0 && !mayDial(host, [host], policy)) {
      callback(new BlockedAddressError('The address is not public.'), null);
      return;
    }
    connect(options, callback);
  };
}

/** One address that is not public refuses them all, because net.connect chooses which of them it dials. */
function guardedLookup(policy: AddressPolicy, lookupAll: LookupAll): LookupFunction {
  return (host, options, callback) => {
    lookupAll(host, { ...options, all: true }, (error, addresses) => {
      const [first] = addresses ?? [];
      if (error !== null || first === undefined) {
        callback(error ?? new Error('The name has no address.'), '');
      } else if (!mayDial(host, addresses.map(addressOf), policy)) {
        callback(new BlockedAddressError('The name has an address that is not public.'), '');
      } else if (options.all === true) {
        callback(null, addresses);
      } else {
        callback(null, first.address, first.family);
      }
    });
  };
}

function addressOf({ address }: LookupAddress): string {
  return address;
}

function mayDial(host: string, addresses: readonly string[], { privateHosts }: AddressPolicy): boolean {
  return isListed(host, privateHosts) || addresses.every(isPublicAddress);
}

/** In lower case, without the brackets of IPv6 and the dot at the end. */
function plainHost(host: string): string {
  return host
    .toLowerCase()
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '');
}
