import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { DnsNames, type DnsOptions } from '../../network/dns-names.ts';
import { parseHosts, parseResolver } from '../../network/system-names.ts';
import { type NameAnswer, NO_SUCH_NAME, SERVER_FAILURE, startNameServer } from '../support/name-server.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

/** Files of a system, which say what a test writes into them. */
let files: { readonly hosts: string; readonly resolver: string };

beforeEach(() => {
  const folder = temporaryFolder();
  files = { hosts: join(folder, 'hosts'), resolver: join(folder, 'resolv.conf') };
});

/** Resolves by a name server that answers as a table says, and no others. */
async function resolver(answers: Readonly<Record<string, NameAnswer>>, options: DnsOptions = {}, ttlSeconds = 60) {
  const server = await startNameServer((name) => answers[name] ?? NO_SUCH_NAME, ttlSeconds);
  const names = new DnsNames({ servers: [server.address], files, ...options });
  const resolve = (host: string, isPrivateAllowed = false, signal = new AbortController().signal) =>
    names.resolve(host, { isPrivateAllowed, signal }).then(
      (addresses) => addresses.map(({ address }) => address),
      (error: unknown) => (error instanceof Error && 'problem' in error ? error.problem : error),
    );
  return { names, resolve, questions: server.questions };
}

describe('a name', () => {
  test('has the addresses of both kinds, by turns', async () => {
    const { resolve, questions } = await resolver({ 'a.test': ['192.0.2.1', '192.0.2.2', '2001:db8::1'] });
    expect(await resolve('a.test')).toEqual(['192.0.2.1', '2001:db8::1', '192.0.2.2']);
    expect([...questions].sort()).toEqual(['A a.test', 'AAAA a.test']);
  });

  test.each([
    ['of IPv4 alone', ['192.0.2.1']],
    ['of IPv6 alone', ['2001:db8::7']],
  ])('may have addresses %s', async (_, addresses) => {
    const { resolve } = await resolver({ 'a.test': addresses });
    expect(await resolve('A.Test')).toEqual(addresses);
  });

  test.each([
    ['does not exist', NO_SUCH_NAME, 'no-address'],
    ['has no addresses', [], 'no-address'],
    ['makes the server fail', SERVER_FAILURE, 'names-unanswered'],
  ] as const)('that %s fails, and is not asked again at once', async (_, answer, problem) => {
    const { resolve, questions } = await resolver({ 'a.test': answer });
    expect(await resolve('a.test')).toBe(problem);
    const asked = questions.length;
    expect(await resolve('a.test')).toBe(problem);
    expect(questions).toHaveLength(asked);
  });

  test.each(['', '.', 'a..b', `${'x'.repeat(64)}.test`, `${'x.'.repeat(130)}test`])(
    'like %j is none, and nobody is asked',
    async (host) => {
      const { resolve, questions } = await resolver({});
      expect(await resolve(host)).toBe('no-address');
      expect(questions).toEqual([]);
    },
  );

  test.each(['localhost', 'LocalHost.', 'images.localhost'])('%s is this machine by rule', async (host) => {
    const { resolve, questions } = await resolver({});
    expect(await resolve(host)).toEqual(['127.0.0.1', '::1']);
    expect(questions).toEqual([]);
  });

  test('whose other kind has no answer waits a moment for it alone', async () => {
    const server = await startNameServer((_, kind) => (kind === 'A' ? ['192.0.2.1'] : 'silence'));
    const names = new DnsNames({ servers: [server.address], files });
    const startMs = performance.now();
    const addresses = await names.resolve('a.test', { isPrivateAllowed: false, signal: new AbortController().signal });
    expect(addresses).toEqual([{ address: '192.0.2.1', family: 4 }]);
    expect(performance.now() - startMs).toBeLessThan(1_000);
  });
});

describe('a question', () => {
  test('ends by its deadline', async () => {
    const { resolve, names } = await resolver({ 'a.test': 'silence' }, { deadlineMs: 200 });
    const startMs = performance.now();
    expect(await resolve('a.test')).toBe('names-unanswered');
    expect(performance.now() - startMs).toBeLessThan(1_500);
    expect(names.openCount).toBe(0);
  });

  test('is one for all who wait, and is given up with the last of them', async () => {
    const { resolve, names, questions } = await resolver({ 'a.test': 'silence' });
    const [first, second] = [new AbortController(), new AbortController()];
    const answers = [resolve('a.test', false, first.signal), resolve('A.test', false, second.signal)];
    await expect.poll(() => questions.length).toBe(2); // One of each kind.
    first.abort('the first left');
    expect(await answers[0]).toBe('the first left');
    expect(names.openCount).toBe(1);
    second.abort('the second left');
    expect(await answers[1]).toBe('the second left');
    expect(names.openCount).toBe(0);
  });

  test('that was given up is asked anew', async () => {
    const answers: Record<string, NameAnswer> = { 'a.test': 'silence' };
    const { resolve } = await resolver(answers);
    const leaving = new AbortController();
    const left = resolve('a.test', false, leaving.signal);
    leaving.abort('left');
    expect(await left).toBe('left');
    answers['a.test'] = ['192.0.2.1'];
    expect(await resolve('a.test')).toEqual(['192.0.2.1']);
  });

  test('a thousand at once take no threads: the disk answers meanwhile', async () => {
    const silent = Object.fromEntries(
      Array.from({ length: 1_000 }, (_, index) => [`${index}.test`, 'silence' as const]),
    );
    const { resolve, names } = await resolver(silent, { deadlineMs: 2_000 });
    const all = Object.keys(silent).map((name) => resolve(name));
    await expect.poll(() => names.openCount).toBe(1_000);
    const startMs = performance.now();
    writeFileSync(files.hosts, '192.0.2.9 known.test');
    expect(await (await resolver({})).resolve('known.test')).toEqual(['192.0.2.9']);
    expect(performance.now() - startMs).toBeLessThan(1_000);
    expect(new Set(await Promise.all(all))).toEqual(new Set(['names-unanswered']));
  });

  test('is kept for no longer than the record says', async () => {
    const { resolve, questions } = await resolver({ 'a.test': ['192.0.2.1'] }, {}, 1);
    await resolve('a.test');
    await resolve('a.test');
    expect(questions).toHaveLength(2);
    await new Promise((wait) => setTimeout(wait, 1_100));
    await resolve('a.test');
    expect(questions).toHaveLength(4);
  });
});

describe('a short name', () => {
  const completed = {
    'db.default.svc.test': ['192.0.2.5'],
    'db.svc.test': ['192.0.2.6'],
    'a.b': ['192.0.2.7'],
  } as const;
  beforeEach(() => writeFileSync(files.resolver, 'search default.svc.test svc.test\noptions ndots:5\n'));

  test('is completed by the search domains, in their order', async () => {
    const { resolve } = await resolver(completed);
    expect(await resolve('db')).toEqual(['192.0.2.5']);
  });

  test('with dots is one of the own network alone, however many dots make a name long', async () => {
    const { resolve, questions } = await resolver({ 'a.b.svc.test': ['192.0.2.8'] });
    expect(await resolve('a.b')).toBe('no-address');
    expect(new Set(questions)).toEqual(new Set(['A a.b', 'AAAA a.b']));
    expect(await resolve('a.b', true)).toEqual(['192.0.2.8']);
  });

  test('that ends with a dot is not short', async () => {
    const { resolve } = await resolver(completed);
    expect(await resolve('db.')).toBe('no-address');
    expect(await resolve('db.svc.test.')).toEqual(['192.0.2.6']);
  });

  test('of the own network is asked as it is first where it has dots enough', async () => {
    writeFileSync(files.resolver, 'search svc.test\n');
    const { resolve, questions } = await resolver(completed);
    expect(await resolve('a.b', true)).toEqual(['192.0.2.7']);
    expect([...questions].sort()).toEqual(['A a.b', 'AAAA a.b']);
  });
});

describe('the hosts file', () => {
  test('comes before all servers', async () => {
    writeFileSync(files.hosts, '192.0.2.1 a.test A2.test # a comment\n::7\ta.test\nnonsense b.test\n');
    const { resolve, questions } = await resolver({});
    expect(await resolve('a.TEST')).toEqual(['192.0.2.1', '::7']);
    expect(await resolve('a2.test.')).toEqual(['192.0.2.1']);
    expect(questions).toEqual([]);
    expect(await resolve('b.test')).toBe('no-address');
  });

  test('is read with tabs, comments and carriage returns', () => {
    expect([...parseHosts('# 10.0.0.1 no\n\n 10.0.0.2\ta  b #c\r\n10.0.0.2 a\n10.0.0.3 a\n')]).toEqual([
      ['a', ['10.0.0.2', '10.0.0.3']],
      ['b', ['10.0.0.2']],
    ]);
  });
});

test.each([
  ['', [], 1],
  ['domain one.test\nsearch two.test three.test.\n', ['two.test', 'three.test'], 1],
  ['search .\noptions timeout:1 ndots:2 ndots:3\n', [], 3],
  ['options ndots:99\n;search no.test\n', [], 15],
])('resolv.conf of %j', (text, search, dotCount) => {
  expect(parseResolver(text)).toEqual({ search, dotCount });
});
