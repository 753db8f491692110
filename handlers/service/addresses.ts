import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';

/**
 * The addresses that a host name to listen on has: `localhost` has one of each family on most machines, and clients may
 * take either. An address stands for itself, and so does a name that does not resolve.
 */
export async function addressesOf(host: string): Promise<readonly string[]> {
  if (isIP(host) !== 0) return [host];
  const found = await lookup(host, { all: true }).catch(() => []);
  const addresses = [...new Set(found.map(({ address }) => address))];
  return addresses.length === 0 ? [host] : addresses;
}
