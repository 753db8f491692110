import type { LookupAddress, LookupAllOptions } from 'node:dns';
import { isIP } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import ipaddr from 'ipaddr.js';
import { HostFailure } from './host-failure.ts';
import { isLocalhost, plainHost } from './host-names.ts';

/** Which addresses may be dialled. */
export interface AddressPolicy {
  /**
   * Hosts that may have an address which is not public: private, loopback, link-local. Names are exact, or `*.` and a
   * domain, or `*` for all.
   */
  readonly privateHosts: readonly string[];
  /**
   * How long it takes at least to say that a name has no address which may be dialled, so that its duration does not tell
   * an unknown name from one of this network.
   */
  readonly silenceMs?: number;
}

const SILENCE_MS = 500;

export interface ResolveOptions {
  /** Whether the operator lists the host as one of the own network: then its name may be completed as such names are. */
  readonly isPrivateAllowed: boolean;
  readonly signal: AbortSignal;
}

/**
 * Finds the addresses of a name.
 * @throws HostFailure `no-address` or `names-unanswered`; the signal's reason.
 */
export type ResolveName = (host: string, options: ResolveOptions) => Promise<readonly LookupAddress[]>;

/** Finds all addresses of a name, as `lookup` of node:dns does. */
export type LookupAll = (
  host: string,
  options: LookupAllOptions,
  callback: (error: Error | null, addresses: LookupAddress[]) => void,
) => void;

/** A host that must not be reached, as the URL says by itself. The message leaves out the address. */
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
 * The addresses that may be dialled for a host. A caller dials these and no others, so that a name which changes its
 * answer later deceives nobody.
 * @throws BlockedAddressError where the host itself is an address that is not public, or a name of this machine.
 * @throws HostFailure `no-address` where the name is unknown or one of its addresses is not public, and as `resolve` does.
 */
export async function dialableAddresses(
  hostname: string,
  { privateHosts, silenceMs = SILENCE_MS }: AddressPolicy,
  resolve: ResolveName,
  signal: AbortSignal,
): Promise<readonly LookupAddress[]> {
  const host = plainHost(hostname);
  const isPrivateAllowed = isListed(host, privateHosts);
  const family = isIP(host);
  if (!isPrivateAllowed && (family === 0 ? isLocalhost(host) : !isPublicAddress(host))) {
    throw new BlockedAddressError('The host is not public.');
  }
  if (family !== 0) return [{ address: host, family }];
  if (isPrivateAllowed) return requireSome(await resolve(hostname, { isPrivateAllowed, signal }));
  return await inSilence(silenceMs, signal, async () => {
    const addresses = requireSome(await resolve(hostname, { isPrivateAllowed, signal }));
    if (addresses.every(({ address }) => isPublicAddress(address))) return addresses;
    throw new HostFailure('no-address');
  });
}

function requireSome(addresses: readonly LookupAddress[]): readonly LookupAddress[] {
  if (addresses.length === 0) throw new HostFailure('no-address');
  return addresses;
}

/** Takes at least so long to fail because a name has no address, whatever the reason. */
async function inSilence<T>(silenceMs: number, signal: AbortSignal, act: () => Promise<T>): Promise<T> {
  const startMs = performance.now();
  try {
    return await act();
  } catch (thrown) {
    const remainingMs = startMs + silenceMs - performance.now();
    if (thrown instanceof HostFailure && thrown.problem === 'no-address' && remainingMs > 0) {
      await sleep(remainingMs, undefined, { signal });
    }
    throw thrown;
  }
}
