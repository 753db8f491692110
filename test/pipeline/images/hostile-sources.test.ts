import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { type AddressInfo, isIP, type Server } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import type { LookupAll } from '../../../network/address-guard.ts';
import { type ImageOptions, loadImage } from '../../../pipeline/images/image-source.ts';
import { type ErrorCode, HandlerError } from '../../../protocol/errors.ts';
import { makeCertificates } from '../../support/certificates.ts';
import { imagePath } from '../../support/goldens.ts';
import { imageOptions } from '../../support/image-options.ts';
import { type Route, startServer } from '../../support/loopback-server.ts';

/**
 * Tricks that make a service fetch from its own network. Each is requested as an image, by itself, through a redirect
 * and behind a name, while a server on this machine counts connections. Tricks that mean this machine are also requested
 * where they are allowed, and reach it then, so that a count of zero proves something.
 * Sources: OWASP, Server Side Request Forgery Prevention Cheat Sheet; imgproxy, its table of private networks.
 */

const hasIpv6 =
  existsSync('/proc/net/if_inet6') && /^0{31}1 /m.test(readFileSync('/proc/net/if_inet6', { encoding: 'utf8' }));
/** Elsewhere 127.5.5.5 and 0.0.0.0 are not this machine. */
const isLinux = process.platform === 'linux';

/** A public number that nobody has had since 2006. */
const NOWHERE = '3ffe::1';

/** Addresses of names. Any other name is this machine, as with nip.io. */
const answers: Record<string, readonly string[]> = {
  'metadata.google.internal': ['169.254.169.254'],
  'mixed.test': ['93.184.216.34', '127.0.0.1'],
  'mixed-first.test': ['127.0.0.1', '93.184.216.34'],
  'mixed-families.test': ['93.184.216.34', '::1'],
};

const lookupAll: LookupAll = (host, _options, callback) => {
  const given = answers[host.toLowerCase().replace(/\.$/, '')] ?? ['127.0.0.1'];
  const addresses = given.map((address) => ({ address, family: isIP(address) }));
  process.nextTick(() => callback(null, addresses));
};

const options: ImageOptions = { ...imageOptions, lookupAll, privateHosts: ['images.test'] }; // The source of redirects.

/** The server that must not be reached, on every address of this machine. It counts connections. */
let target: Server;
let port: number;
let hits = 0;

beforeAll(async () => {
  target = createServer((_request, response) => response.writeHead(200, { connection: 'close' }).end('secret'));
  target.on('connection', () => {
    hits += 1;
  });
  await new Promise<void>((resolve) => target.listen(0, hasIpv6 ? '::' : '0.0.0.0', resolve));
  ({ port } = target.address() as AddressInfo); // It listens on a port, not on a pipe.
});
afterAll(() => target.close());
afterEach(() => {
  hits = 0;
  vi.unstubAllEnvs();
});

/** The error code of an image that must be refused. No message says where it was looked for, or what was there. */
async function refusalOf(source: string, changed: Partial<ImageOptions> = {}): Promise<ErrorCode> {
  const error = await loadImage(source, { ...options, ...changed }).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof HandlerError)) throw new Error(`Expected a HandlerError, got ${error}.`);
  expect(error.message).toMatch(/^Expected .*\.$/s);
  const said = error.message.replace(/host (?:that )?"([^"]*)"/, (_, host) => {
    expect(source.replace(/\s/g, '')).toContain(host); // As the sender wrote it.
    return 'host';
  });
  expect(said).not.toMatch(/\d+\.\d+|::|localhost|\.test|:\d|secret|passwd|E[A-Z]{5,}/);
  return error.code;
}

/** The URL of a server that redirects to a location. Its name is allowed. */
async function redirectTo(location: string, status = 302): Promise<string> {
  const ascii = location.replace(/[^ -~\t]+/g, encodeURIComponent); // Servers encode characters that a header cannot have.
  const origin = await startServer({ '/': (response) => response.writeHead(status, { location: ascii }).end() });
  return `${origin.replace('127.0.0.1', 'images.test')}/`;
}

const redirectStatuses = [301, 302, 303, 307, 308];

/** The error codes of a row. */
interface Refusal {
  /** By itself. */
  readonly code: ErrorCode;
  /** As the target of a redirect. Absent where no header can have it. */
  readonly redirected?: ErrorCode;
  /** Whether it reaches this machine where it is let through. */
  readonly isHere?: boolean;
}

const blocked: Refusal = { code: 'IMAGE_SOURCE_BLOCKED', redirected: 'IMAGE_SOURCE_BLOCKED' };
const here: Refusal = { ...blocked, isHere: true };
/** A name that leads into the network is not told from one that is unknown. */
const privateName: Refusal = { code: 'IMAGE_HOST_NOT_FOUND', redirected: 'IMAGE_HOST_NOT_FOUND' };
const unfound: Refusal = { ...privateName, isHere: true };
const unparsable: Refusal = { code: 'IMAGE_SOURCE_INVALID', redirected: 'IMAGE_FETCH_FAILED' };
const otherScheme: Refusal = { code: 'IMAGE_SOURCE_INVALID', redirected: 'IMAGE_SOURCE_INVALID' };

type Row = readonly [trick: string, source: string, refusal: Refusal];

/** Hosts of http URLs. */
const hosts: readonly Row[] = (
  [
    ['loopback', '127.0.0.1', here],
    ['loopback, not its first address', '127.5.5.5', here],
    ['loopback, its last address', '127.255.255.254', here],
    ['a decimal number', '2130706433', here],
    ['a hexadecimal number', '0x7f000001', here],
    ['a hexadecimal number in capitals', '0X7F000001', here],
    ['hexadecimal parts', '0x7f.0x0.0x0.0x1', here],
    ['an octal number', '017700000001', here],
    ['octal parts', '0177.0.0.01', here],
    ['octal with many zeros', '00000177.0.0.1', here],
    ['two parts', '127.1', here],
    ['three parts', '127.0.1', here],
    ['mixed parts', '0x7f.0.1', here],
    ['octal and hexadecimal parts', '0177.0x0.1', here],
    ['a dot at the end', '127.0.0.1.', here],
    ['a decimal number with a dot at its end', '2130706433.', here],
    ['full-width digits', '１２７.0.0.1', here],
    ['circled digits', '①②⑦.⓪.⓪.①', here],
    ['superscript digits', '¹²⁷.0.0.1', here],
    ['mathematical digits', '𝟏𝟐𝟕.𝟎.𝟎.𝟏', here],
    ['ideographic full stops', '127。0。0。1', here],
    ['full-width full stops', '127．0．0．1', here],
    ['half-width ideographic full stops', '127｡0｡0｡1', here],
    ['a soft hyphen, which is dropped', '127.0.0\u00ad.1', here],
    ['a joiner of no width, which is dropped', '127.0.0.\u20601', here],
    ['digits that no number has, which make a name', '١٢٧.0.0.x', unfound],
    ['percent-encoded digits', '%31%32%37.0.0.1', here],
    ['percent-encoded dots', '127%2e0%2E0%2e1', here],
    ['nothing but zero', '0', here],
    ['unspecified', '0.0.0.0', here],
    ['unspecified in hexadecimal', '0x0', here],
    ['a part that is too large', '256.0.0.1', unparsable],
    ['a number that is too large', '6425673729', unparsable],
    ['five parts', '127.0.0.0.1', unparsable],
    ['a letter among digits, which make a name', '127.0.0.0x1g', unfound],
    ['an empty part', '127..0.1', unparsable],
    ['an encoded slash', '127.0.0.1%2f', unparsable],
    ['an encoded zero', '127.0.0.1%00', unparsable],
    ['an encoded at sign', 'decoy.test%40127.0.0.1', unparsable],
    ['this network', '0.1.2.3', blocked],
    ['private 10', '10.0.0.1', blocked],
    ['private 172.16', '172.16.0.1', blocked],
    ['private 172.31', '172.31.255.255', blocked],
    ['private 192.168', '192.168.1.1', blocked],
    ['private, as a number', '3232235777', blocked],
    ['link-local', '169.254.0.1', blocked],
    ['shared by carriers', '100.64.0.1', blocked],
    ['of protocols', '192.0.0.1', blocked],
    ['of documents', '192.0.2.1', blocked],
    ['of benchmarks', '198.18.0.1', blocked],
    ['relays of 6to4', '192.88.99.1', blocked],
    ['multicast', '224.0.0.1', blocked],
    ['multicast of organisations', '239.255.255.250', blocked],
    ['reserved', '240.0.0.1', blocked],
    ['broadcast', '255.255.255.255', blocked],
    ['metadata of clouds', '169.254.169.254', blocked],
    ['metadata as a number', '2852039166', blocked],
    ['metadata in hexadecimal', '0xa9fea9fe', blocked],
    ['metadata in octal', '0251.0376.0251.0376', blocked],
    ['metadata in two parts', '169.16689662', blocked],
    ['metadata in circled digits', '①⑥⑨.②⑤④.①⑥⑨.②⑤④', blocked],
    ['credentials of ECS', '169.254.170.2', blocked],
    ['credentials of EKS', '169.254.170.23', blocked],
    ['wire server of Azure', '168.63.129.16', blocked],
    ['metadata of Alibaba', '100.100.100.200', blocked],
  ] as const
).map(([trick, host, refusal]) => [trick, `http://${host}:PORT/`, refusal]);

/** Hosts of IPv6, in brackets. */
const ipv6Hosts: readonly Row[] = (
  [
    ['loopback', '::1', here],
    ['loopback in full', '0:0:0:0:0:0:0:1', here],
    ['loopback with zeros', '0000::0001', here],
    ['unspecified', '::', here],
    ['IPv4 mapped', '::ffff:127.0.0.1', here],
    ['IPv4 mapped, in hexadecimal', '::ffff:7f00:1', here],
    ['IPv4 mapped, in capitals and full', '0:0:0:0:0:FFFF:7F00:0001', here],
    ['unspecified IPv4 mapped', '::ffff:0:0', here],
    ['private IPv4 mapped', '::ffff:192.168.1.1', blocked],
    ['metadata mapped', '::ffff:169.254.169.254', blocked],
    ['wire server of Azure mapped', '::ffff:168.63.129.16', blocked],
    ['IPv4 compatible', '::127.0.0.1', blocked],
    ['IPv4 compatible, in hexadecimal', '::7f00:1', blocked],
    ['IPv4 translated', '::ffff:0:127.0.0.1', blocked],
    ['6to4 of loopback', '2002:7f00:1::', blocked],
    ['6to4 of metadata', '2002:a9fe:a9fe::', blocked],
    ['Teredo', '2001:0:7f00:1::', blocked],
    ['NAT64', '64:ff9b::7f00:1', blocked],
    ['NAT64 of metadata', '64:ff9b::169.254.169.254', blocked],
    ['local NAT64', '64:ff9b:1::7f00:1', blocked],
    ['ISATAP', '2606:4700::5efe:7f00:1', blocked],
    ['ISATAP of a public number', '2606:4700::200:5efe:a9fe:a9fe', blocked],
    ['link-local ISATAP', 'fe80::5efe:7f00:1', blocked],
    ['unique local', 'fd00::1', blocked],
    ['unique local, the other half', 'fc00::1', blocked],
    ['link-local', 'fe80::1', blocked],
    ['site-local', 'fec0::1', blocked],
    ['multicast', 'ff02::1', blocked],
    ['discard-only', '100::1', blocked],
    ['dummy prefix', '100:0:0:1::1', blocked],
    ['of documents', '2001:db8::1', blocked],
    ['of documents, the later block', '3fff::1', blocked],
    ['of benchmarks', '2001:2::1', blocked],
    ['segment routing', '5f00::1', blocked],
    ['not given to the public', '4000::1', blocked],
    ['metadata of Amazon', 'fd00:ec2::254', blocked],
    ['credentials of EKS', 'fd00:ec2::23', blocked],
    ['metadata of Google', 'fd20:ce::254', blocked],
    ['a zone', 'fe80::1%eth0', unparsable],
    ['a zone of loopback', '::1%lo', unparsable],
    ['an encoded zone', 'fe80::1%25eth0', unparsable],
    ['an encoded zone of loopback', '::1%25lo', unparsable],
    ['the form of later versions', 'v1.127.0.0.1', unparsable],
  ] as const
).map(([trick, host, refusal]) => [`IPv6: ${trick}`, `http://[${host}]:PORT/`, refusal]);

/** Names, all of which lead into the network. */
const names: readonly Row[] = (
  [
    ['a name of this machine', 'localhost', here],
    ['in capitals', 'LOCALHOST', here],
    ['a dot at the end', 'localhost.', here],
    ['with a domain', 'localhost.localdomain', unfound],
    ['in full-width letters', 'ｌｏｃａｌｈｏｓｔ', here],
    ['in circled letters', 'ⓛⓞⓒⓐⓛⓗⓞⓢⓣ', here],
    ['an ideographic dot at the end', 'localhost。', here],
    ['percent-encoded', '%6c%6f%63alhost', here],
    ['a letter of another alphabet', 'lоcalhost', unfound],
    ['an international name', 'bücher.test', unfound],
    ['the same in ASCII', 'xn--bcher-kva.test', unfound],
    ['a long s, which is an s', 'localhoſt', here],
    ['a public suffix that says an address', '127.0.0.1.nip.io', unfound],
    ['the same in hexadecimal', '7f000001.nip.io', unfound],
    ['a name that only begins as one that is allowed', 'images.test.evil.test', unfound],
    ['a name that only ends as one that is allowed', 'notimages.test', unfound],
    ['one label', 'intranet', unfound],
    ['metadata of Google', 'metadata.google.internal', privateName],
    ['metadata of Google with a dot at the end', 'metadata.google.internal.', privateName],
    ['a public address and a private one', 'mixed.test', privateName],
    ['a private address and a public one', 'mixed-first.test', privateName],
    ['a public address and a private one of IPv6', 'mixed-families.test', privateName],
  ] as const
).map(([trick, host, refusal]) => [`name: ${trick}`, `http://${host}:PORT/`, refusal]);

const urls: readonly Row[] = [
  ['a scheme in capitals', 'HTTP://127.0.0.1:PORT/', here],
  ['a scheme in both', 'hTtP://127.0.0.1:PORT/', here],
  ['no slashes', 'http:127.0.0.1:PORT/', { code: 'IMAGE_SOURCE_BLOCKED', isHere: true }], // Relative in a redirect.
  ['one slash', 'http:/127.0.0.1:PORT/', { code: 'IMAGE_SOURCE_BLOCKED', isHere: true }],
  ['many slashes', 'http://///127.0.0.1:PORT/', here],
  ['backslashes', 'http:\\\\127.0.0.1:PORT\\', here],
  ['space around', ' \t http://127.0.0.1:PORT/ \t', here],
  ['lines around', '\r\nhttp://127.0.0.1:PORT/\r\n', { code: 'IMAGE_SOURCE_BLOCKED', isHere: true }],
  ['a tab in the host', 'http://127.0\t.0.1:PORT/', here],
  ['a line break in the host', 'http://127.0\n.0.1:PORT/', { code: 'IMAGE_SOURCE_BLOCKED', isHere: true }],
  ['a line break in the scheme', 'ht\ntp://127.0.0.1:PORT/', { code: 'IMAGE_SOURCE_INVALID' }],
  ['a zero before it', '\0http://127.0.0.1:PORT/', { code: 'IMAGE_SOURCE_INVALID' }],
  ['a user', 'http://user@127.0.0.1:PORT/', here],
  ['a user and a password', 'http://user:password@127.0.0.1:PORT/', here],
  ['a host as user', 'http://images.test@127.0.0.1:PORT/', here],
  ['a host and a port as user', 'http://images.test:80@127.0.0.1:PORT/', here],
  ['an encoded slash in the user', 'http://images.test%2f@127.0.0.1:PORT/', here],
  ['an encoded fragment in the user', 'http://images.test%23@127.0.0.1:PORT/', here],
  ['two at signs', 'http://user@images.test@127.0.0.1:PORT/', here],
  ['a backslash before the at sign', 'http://127.0.0.1:PORT\\@images.test/', here],
  ['a slash before the at sign', 'http://127.0.0.1:PORT/@images.test/', here],
  ['a fragment before the at sign', 'http://127.0.0.1:PORT#@images.test/', here],
  ['a query before the at sign', 'http://127.0.0.1:PORT?@images.test/', here],
  ['a semicolon in the user', 'http://images.test;@127.0.0.1:PORT/', here],
  ['no scheme', '127.0.0.1:PORT/', { code: 'IMAGE_SOURCE_INVALID' }],
  ['no scheme, but slashes', '//127.0.0.1:PORT/', { code: 'IMAGE_SOURCE_INVALID', redirected: 'IMAGE_SOURCE_BLOCKED' }],
  [
    'the same with backslashes',
    '\\\\127.0.0.1:PORT/',
    { code: 'IMAGE_SOURCE_INVALID', redirected: 'IMAGE_SOURCE_BLOCKED' },
  ],
  ['no host', 'http://:PORT/', unparsable],
  ['https', 'https://127.0.0.1:PORT/', blocked],
  ['https and a number', 'https://2130706433:PORT/', blocked],
  ['port 0', 'http://127.0.0.1:0/', blocked],
  ['no port', 'http://127.0.0.1/', blocked],
  ['an empty port', 'http://127.0.0.1:/', blocked],
  ['the port of SSH', 'http://127.0.0.1:22/', blocked],
  ['the port of Redis', 'http://[::1]:6379/', blocked],
  ['the port with zeros', 'http://127.0.0.1:0000PORT/', here],
  ['the runtime of Lambda', 'http://localhost:9001/2018-06-01/runtime/invocation/next', blocked],
  ['the runtime of Lambda by its address', 'http://127.0.0.1:9001/2018-06-01/runtime/invocation/next', blocked],
  ['a port that is too large', 'http://127.0.0.1:65536/', unparsable],
  ['a port that would wrap', 'http://127.0.0.1:4295032832/', unparsable],
  ['a negative port', 'http://127.0.0.1:-1/', unparsable],
  ['two ports', 'http://127.0.0.1:PORT:80/', unparsable],
  ['file', 'file:///etc/passwd', otherScheme],
  ['file in capitals', 'FILE:///proc/self/environ', otherScheme],
  ['file of a host', 'file://127.0.0.1:PORT/etc/passwd', { ...otherScheme, redirected: 'IMAGE_FETCH_FAILED' }], // No URL.
  ['ftp', 'ftp://127.0.0.1:PORT/', otherScheme],
  ['gopher', 'gopher://127.0.0.1:PORT/_GET%20/%20HTTP/1.1', otherScheme],
  ['dict', 'dict://127.0.0.1:PORT/info', otherScheme],
  ['ldap', 'ldap://127.0.0.1:PORT/', otherScheme],
  ['tftp', 'tftp://127.0.0.1:PORT/x', otherScheme],
  ['web sockets', 'ws://127.0.0.1:PORT/', otherScheme],
  ['blob', 'blob:http://127.0.0.1:PORT/1', otherScheme],
  ['jar', 'jar:http://127.0.0.1:PORT/!/x', otherScheme],
  ['view-source', 'view-source:http://127.0.0.1:PORT/', otherScheme],
  ['javascript', 'javascript:fetch("http://127.0.0.1:PORT/")', otherScheme],
  ['about', 'about:blank', otherScheme],
  ['unix', 'unix:/var/run/docker.sock', otherScheme],
  ['data', 'data:text/plain,secret', { code: 'IMAGE_UNSUPPORTED', redirected: 'IMAGE_SOURCE_INVALID' }],
];

const rows: readonly Row[] = [...hosts, ...ipv6Hosts, ...names, ...urls];
const at = (source: string) => source.replace('PORT', String(port));

describe('nobody is asked', () => {
  test.each(rows)('%s: %j', async (_, source, { code, redirected }) => {
    expect(await refusalOf(at(source))).toBe(code);
    if (redirected !== undefined) {
      const status = redirectStatuses[source.length % redirectStatuses.length];
      expect(await refusalOf(await redirectTo(at(source), status))).toBe(redirected);
    }
    expect(hits).toBe(0);
  });

  test.each(redirectStatuses)('after a redirect of status %d', async (status) => {
    expect(await refusalOf(await redirectTo(at('http://127.0.0.1:PORT/'), status))).toBe('IMAGE_SOURCE_BLOCKED');
    expect(hits).toBe(0);
  });

  test('after several redirects, the last of them to another port', async () => {
    const last = await redirectTo(at('http://127.0.0.1:PORT/'));
    expect(await refusalOf(await redirectTo(await redirectTo(last)))).toBe('IMAGE_SOURCE_BLOCKED');
    expect(hits).toBe(0);
  });

  const addresses = [...hosts, ...ipv6Hosts]
    .map(([, source]) => source.replace(':PORT', ''))
    .filter((source) => URL.canParse(source))
    .map((source) => new URL(source).hostname.replace(/^\[|\]$/g, ''))
    .filter((host) => isIP(host) !== 0);
  test.each([...new Set(addresses), 'fe80::1%lo'])('behind a name that stands for %s', async (address) => {
    answers['hidden.test'] = [address];
    answers['half-hidden.test'] = ['93.184.216.34', address];
    for (const name of ['hidden.test', 'half-hidden.test'])
      expect(await refusalOf(at(`http://${name}:PORT/`))).toBe('IMAGE_HOST_NOT_FOUND');
    expect(hits).toBe(0);
  });
});

describe('a host of the network is reached where it is allowed', () => {
  const allowed = { privateHosts: ['*'] };
  const isReachable = (source: string) => isLinux && (hasIpv6 || !source.includes('['));

  // Without IPv6, or elsewhere than on Linux, some of these addresses lead nowhere: then these cases are skipped.
  for (const [trick, source] of rows.filter(([, , { isHere }]) => isHere))
    test.skipIf(!isReachable(source))(`${trick}: ${JSON.stringify(source)}`, async () => {
      expect(await refusalOf(at(source), allowed)).toBe('IMAGE_UNSUPPORTED'); // It was fetched: its text is no image.
      expect(hits).toBe(1);
    });

  test('once, after all that did not reach it', async () => {
    for (const [, source] of hosts) await refusalOf(at(source));
    expect(await refusalOf(at('http://127.0.0.1:PORT/'), allowed)).toBe('IMAGE_UNSUPPORTED');
    expect(hits).toBe(1);
  });
});

describe('a name that changes its mind', () => {
  /** Gives each time the next of the answers, and counts. */
  function changing(...given: readonly (readonly string[])[]): { lookupAll: LookupAll; asked: () => number } {
    let asked = 0;
    const next: LookupAll = (_host, _options, callback) => {
      const addresses = given[Math.min(asked, given.length - 1)] ?? [];
      asked += 1;
      process.nextTick(() =>
        callback(
          null,
          addresses.map((address) => ({ address, family: isIP(address) })),
        ),
      );
    };
    return { lookupAll: next, asked: () => asked };
  }

  test('between the check and the connection is not asked again', async () => {
    const names = changing([NOWHERE], ['127.0.0.1']);
    const code = await refusalOf(at('http://rebound.test:PORT/'), { lookupAll: names.lookupAll, timeoutMs: 500 });
    expect(code).toMatch(/^IMAGE_(HOST_UNREACHABLE|FETCH_TIMEOUT)$/); // As the network has it: nobody is there.
    expect(names.asked()).toBe(1);
    expect(await refusalOf(at('http://rebound.test:PORT/'), { lookupAll: names.lookupAll })).toBe(
      'IMAGE_HOST_NOT_FOUND',
    );
    expect(names.asked()).toBe(2);
    expect(hits).toBe(0);
  });

  test('is dialled at the address that was looked at', async () => {
    const names = changing(['127.0.0.1'], [NOWHERE]);
    const allowed = { lookupAll: names.lookupAll, privateHosts: ['rebound.test'] };
    expect(await refusalOf(at('http://rebound.test:PORT/'), allowed)).toBe('IMAGE_UNSUPPORTED');
    expect([names.asked(), hits]).toEqual([1, 1]);
  });

  test('between two redirects is looked at again', async () => {
    const names = changing(['127.0.0.1'], ['10.0.0.1']);
    const location = at('http://rebound.test:PORT/');
    const origin = await startServer({ '/': (response) => response.writeHead(302, { location }).end() });
    expect(await refusalOf(`${origin}/`, { lookupAll: names.lookupAll, privateHosts: ['127.0.0.1'] })).toBe(
      'IMAGE_HOST_NOT_FOUND',
    );
    expect(hits).toBe(0);
  });

  test('or has no address at all', async () => {
    expect(await refusalOf(at('http://nothing.test:PORT/'), { lookupAll: changing([]).lookupAll })).toBe(
      'IMAGE_HOST_NOT_FOUND',
    );
  });
});

describe('on the way', () => {
  /** A server of the network that is allowed, by its name. */
  async function startAllowed(route: Route): Promise<string> {
    return `${(await startServer({ '/': route })).replace('127.0.0.1', 'images.test')}/`;
  }

  test('the host is told the name that it was asked by', async () => {
    const asked: unknown[] = [];
    const url = await startAllowed((response, { headers: { host } }) => {
      asked.push(host);
      response.end('text');
    });
    await refusalOf(url);
    expect(asked).toEqual([new URL(url).host]);
  });

  test.each(['http_proxy', 'HTTP_PROXY', 'https_proxy', 'all_proxy', 'ALL_PROXY'])(
    'no proxy of %s sees the request',
    async (variable) => {
      vi.stubEnv(variable, at('http://127.0.0.1:PORT'));
      vi.stubEnv('NODE_USE_ENV_PROXY', '1');
      expect(await refusalOf(await startAllowed((response) => response.end('text')))).toBe('IMAGE_UNSUPPORTED');
      expect(hits).toBe(0);
    },
  );

  test('no other service is taken that the host says it has', async () => {
    const services = at('h2="127.0.0.1:PORT"; ma=86400, h3=":PORT"');
    const url = await startAllowed((response) => response.writeHead(200, { 'alt-svc': services }).end('text'));
    for (const _ of [1, 2]) expect(await refusalOf(url)).toBe('IMAGE_UNSUPPORTED');
    expect(hits).toBe(0);
  });

  test.each([
    ['gzip', (bytes: Buffer) => gzipSync(bytes), 'IMAGE_TOO_LARGE'],
    ['gzip, gzip, gzip', (bytes: Buffer) => gzipSync(gzipSync(gzipSync(bytes))), 'IMAGE_TOO_LARGE'],
    ['identity, br, unknown', (bytes: Buffer) => bytes.subarray(0, 900_000), 'IMAGE_FETCH_FAILED'],
    [Array(6).fill('gzip').join(), (bytes: Buffer) => gzipSync(bytes), 'IMAGE_FETCH_FAILED'],
  ])('a body in %s, which nobody asked for, takes no more memory than others', async (encoding, encode, code) => {
    const body = encode(Buffer.alloc(20_000_000));
    const url = await startAllowed((response) => response.writeHead(200, { 'content-encoding': encoding }).end(body));
    expect(await refusalOf(url)).toBe(code);
  });

  test('a body is cut where its length says it ends', async () => {
    const png = readFileSync(imagePath('small'));
    const url = await startAllowed((response) => {
      response.socket?.end(`HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n${png.toString('latin1')}`, 'latin1');
    });
    expect(await refusalOf(url)).toMatch(/^IMAGE_(CORRUPT|UNSUPPORTED|FETCH_FAILED)$/);
  });

  describe('of https', () => {
    async function startSecure(route: Route): Promise<string> {
      const { cert, key } = makeCertificates().server;
      const server = createSecureServer({ cert, key }, (request, response) => route(response, request));
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      servers.push(server);
      return `https://images.test:${(server.address() as AddressInfo).port}/`; // As above.
    }
    const servers: Server[] = [];
    afterEach(() => {
      for (const server of servers.splice(0)) server.close();
    });

    test('a host whose certificate nobody vouches for, and which is of another name, is not asked', async () => {
      let requests = 0;
      const url = await startSecure((response) => {
        requests += 1;
        response.end('secret');
      });
      expect(await refusalOf(url)).toBe('IMAGE_HOST_TLS_FAILED');
      expect(requests).toBe(0);
    });

    test('a redirect to http is not followed', async () => {
      vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
      const location = at('http://images.test:PORT/');
      const url = await startSecure((response) => response.writeHead(302, { location }).end());
      expect(await refusalOf(url)).toBe('IMAGE_SOURCE_BLOCKED');
      expect(hits).toBe(0);
      expect(await refusalOf(location)).toBe('IMAGE_UNSUPPORTED'); // By itself it may be fetched.
      expect(hits).toBe(1);
    });
  });
});
