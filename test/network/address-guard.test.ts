import { describe, expect, test } from 'vitest';
import { isListed, isPublicAddress } from '../../network/address-guard.ts';

describe('addresses', () => {
  test.each([
    '8.8.8.8',
    '1.1.1.1',
    '93.184.216.34',
    '2606:4700:4700::1111',
    '2a00:1450:4001:81b::200e',
    '::ffff:8.8.8.8',
  ])('%s is public', (address) => {
    expect(isPublicAddress(address)).toBe(true);
  });

  test.each([
    ['loopback', ['127.0.0.1', '127.5.5.5', '::1', '::ffff:127.0.0.1', '::ffff:7f00:1', '::7f00:1', '::127.0.0.1']],
    ['unspecified', ['0.0.0.0', '0.1.2.3', '::']],
    ['private', ['10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.1.1', 'fd00::1', 'fc00::1', 'fec0::1']],
    ['link-local', ['169.254.0.1', 'fe80::1', 'fe80::1%eth0']],
    ['services of clouds', ['169.254.169.254', '169.254.170.2', '169.254.170.23', 'fd00:ec2::254', 'fd00:ec2::23']],
    ['services of clouds at public numbers', ['168.63.129.16', '100.100.100.200', 'fd20:ce::254']],
    ['shared, for benchmarks and documents', ['100.64.0.1', '198.18.0.1', '192.0.0.1', '192.0.2.1', '2001:db8::1']],
    [
      'reserved, multicast, broadcast',
      ['240.0.0.1', '224.0.0.1', '239.1.1.1', '255.255.255.255', 'ff02::1', '4000::1'],
    ],
    ['discard-only', ['100::1', '100:0:0:1::1']],
    ['IPv4 in 6to4, Teredo, NAT64', ['2002:7f00:1::', '2001:0:7f00:1::', '64:ff9b::7f00:1', '64:ff9b:1::7f00:1']],
    ['IPv4 in ISATAP', ['2606:4700:0:0:0:5efe:7f00:1', '2606:4700::200:5efe:a00:1', 'fe80::5efe:7f00:1']],
    ['nothing at all', ['', 'example.com', '1.2.3', '999.1.1.1', '127.0.0.1:80', '[::1]']],
  ])('%s: not public', (_, addresses) => {
    expect(addresses.filter(isPublicAddress)).toEqual([]);
  });
});

describe('lists of hosts', () => {
  test.each([
    ['example.com', ['example.com']],
    ['EXAMPLE.com.', ['example.com']],
    ['img.example.com', ['*.example.com']],
    ['a.b.example.com', ['other.org', '*.Example.COM']],
    ['anything', ['*']],
    ['[::1]', ['::1']],
  ])('%s is in %j', (host, names) => {
    expect(isListed(host, names)).toBe(true);
  });

  test.each([
    ['example.com', []],
    ['example.com', ['*.example.com']],
    ['notexample.com', ['example.com', '*.example.com']],
    ['example.com.evil.org', ['example.com', '*.example.com']],
    ['', ['example.com']],
  ])('%s is not in %j', (host, names) => {
    expect(isListed(host, names)).toBe(false);
  });
});
