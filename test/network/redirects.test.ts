import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { Agent } from 'undici';
import { describe, expect, onTestFinished, test } from 'vitest';
import { getThrough } from '../../network/proxy-connections.ts';
import { followRedirects, type RedirectPolicy } from '../../network/redirects.ts';
import { startServer } from '../support/loopback-server.ts';
import { startRawServer } from '../support/raw-server.ts';

const { signal } = new AbortController();

/** Follows redirects from a URL; `hops` are the URLs that were checked, each with the one that redirected to it. */
async function follow(first: string, changes: Partial<RedirectPolicy> = {}) {
  const agent = new Agent();
  onTestFinished(() => agent.destroy());
  const get = getThrough(agent);
  const hops: string[] = [];
  const policy: RedirectPolicy = {
    maxRedirects: 3,
    check: (url, previous) => hops.push(`${previous.pathname} → ${url.pathname}`),
    send: (url) => get(url, { headers: {}, signal }),
    failure: (problem) => new Error(problem),
    ...changes,
  };
  const outcome = await followRedirects(new URL(first), policy).then(
    async ({ status, body }) => {
      const chunks: Buffer[] = [];
      for await (const chunk of body) chunks.push(chunk);
      return `${status} ${Buffer.concat(chunks)}`;
    },
    (error: Error) => error.message,
  );
  return { outcome, hops };
}

const redirect =
  (location: string | readonly string[] | undefined, status = 302) =>
  (response: ServerResponse) => {
    if (location !== undefined) response.setHeader('location', location);
    response.writeHead(status).end('moved');
  };

describe('a redirect', () => {
  test.each([300, 301, 302, 303, 307, 308])('with status %i is followed', async (status) => {
    const origin = await startServer({ '/a': redirect('/b', status), '/b': (response) => response.end('text') });
    expect(await follow(`${origin}/a`)).toEqual({ outcome: '200 text', hops: ['/a → /a', '/a → /b'] });
  });

  test.each([304, 305, 306])('with status %i is an answer', async (status) => {
    const origin = await startServer({ '/a': redirect('/b', status) });
    const { outcome, hops } = await follow(`${origin}/a`);
    expect(outcome).toMatch(new RegExp(`^${status}`));
    expect(hops).toEqual(['/a → /a']);
  });

  test.each([
    ['without a Location', undefined],
    ['with an empty Location', ''],
    ['with a Location of spaces', '  '],
  ])('%s is an answer', async (_, location) => {
    const origin = await startServer({ '/a': redirect(location) });
    expect((await follow(`${origin}/a`)).outcome).toBe('302 moved');
  });

  test('is resolved against the URL that sent it, and each hop is checked before it is asked', async () => {
    const asked: string[] = [];
    const origin = await startServer({
      '/x/a': redirect('b'),
      '/x/b': redirect('../c'),
      '/c': (response) => {
        asked.push('/c');
        response.end('text');
      },
    });
    const { hops } = await follow(`${origin}/x/a`);
    expect(hops).toEqual(['/x/a → /x/a', '/x/a → /x/b', '/x/b → /c']);
    const check = (url: URL) => {
      if (url.pathname === '/c') throw new Error('not there');
    };
    expect((await follow(`${origin}/x/a`, { check })).outcome).toBe('not there');
    expect(asked).toEqual(['/c']); // By the first of the two.
  });

  test('with several Locations goes to the first', async () => {
    const origin = await startServer({ '/a': redirect(['/b', '/c']), '/b': (response) => response.end('text') });
    expect((await follow(`${origin}/a`)).outcome).toBe('200 text');
  });

  test('to something that is no URL fails', async () => {
    const origin = await startServer({ '/a': redirect('http://') });
    expect((await follow(`${origin}/a`)).outcome).toBe('not-a-url');
  });
});

/**
 * Locations, as bytes in latin1, and the line that the next request begins with. Chromium 150 asked for exactly these,
 * redirected from /dir/start by a raw server; curl 7.88 -L for the same, but with escapes in lower case, the backslashes
 * as they are, and nothing where a tab is.
 */
const utf8 = (text: string) => Buffer.from(text).toString('latin1');
const locations: readonly (readonly [string, string, string])[] = [
  ['UTF-8 as it is', utf8('/bücher.png'), '/b%C3%BCcher.png'],
  ['UTF-8 that is escaped', '/b%C3%BCcher.png', '/b%C3%BCcher.png'],
  ['both', utf8('/b%C3%BCcher-ü.png'), '/b%C3%BCcher-%C3%BC.png'],
  ['escapes in lower case', '/%c3%bc', '/%c3%bc'],
  ['bytes that are no UTF-8', '/b\xfccher.png', '/b%FCcher.png'],
  ['letters beyond 16 bits', utf8('/😀.png'), '/%F0%9F%98%80.png'],
  ['a space', '/two words.png', '/two%20words.png'],
  ['spaces around it', '  /lead ', '/lead'],
  ['a tab', '/a\tb.png', '/ab.png'],
  ['a percent sign', '/100%.png', '/100%.png'],
  ['an escaped percent sign', '/100%25.png', '/100%25.png'],
  ['an escaped slash', '/a%2Fb', '/a%2Fb'],
  ['a query', utf8('/x?q=ü'), '/x?q=%C3%BC'],
  ['a query alone', '?only=query', '/dir/start?only=query'],
  ['a plus sign', '/x?q=a+b%20c', '/x?q=a+b%20c'],
  ['a fragment', utf8('/x.png#ü'), '/x.png'],
  ['a relative path', utf8('ü.png'), '/dir/%C3%BC.png'],
  ['dots', '../a/./b.png', '/a/b.png'],
  ['backslashes', '\\x\\y.png', '/x/y.png'],
  ['no scheme', '//127.0.0.1:PORT/p', '/p'],
  ['a scheme in capitals', 'HTTP://127.0.0.1:PORT/u', '/u'],
  ['a scheme and a relative path', 'http:rel', '/dir/rel'],
  ['a user', 'http://u:p@127.0.0.1:PORT/user', '/user'],
  ['a semicolon, a comma, quotes and brackets', "/[a];b,c='d'.png", "/[a];b,c='d'.png"],
];

test.each(locations)('a Location with %s: %j', async (_, location, path) => {
  const server = await startRawServer((socket, head) => {
    const isFirst = head.startsWith('GET /dir/start ');
    const answer = isFirst ? `302 Found\r\nLocation: ${location.replace('PORT', String(server.port))}` : '200 OK';
    socket.write(`HTTP/1.1 ${answer}\r\nContent-Length: 0\r\n\r\n`, 'latin1');
  });
  expect((await follow(`${server.origin}/dir/start`)).outcome).toBe('200 ');
  expect(server.requests.map((head) => head.split('\r\n')[0])).toEqual([
    'GET /dir/start HTTP/1.1',
    `GET ${path} HTTP/1.1`,
  ]);
});

test.each([
  ['UTF-8', utf8('http://bücher.test/i')],
  ['escaped UTF-8', 'http://b%C3%BCcher.test/i'],
  ['ASCII', 'http://xn--bcher-kva.test/i'],
])('a Location with an international host in %s', async (_, location) => {
  const server = await startRawServer((socket) => {
    socket.write(`HTTP/1.1 302 Found\r\nLocation: ${location}\r\nContent-Length: 0\r\n\r\n`, 'latin1');
  });
  const hosts: string[] = [];
  const check = ({ hostname }: URL) => {
    hosts.push(hostname);
    if (hosts.length > 1) throw new Error('far enough');
  };
  await follow(`${server.origin}/`, { check });
  expect(hosts).toEqual(['127.0.0.1', 'xn--bcher-kva.test']);
});

test('as many redirects as allowed are followed, and one more fails', async () => {
  const origin = await startServer({
    '/a': redirect('/b'),
    '/b': redirect('/c'),
    '/c': (response) => response.end('text'),
  });
  expect((await follow(`${origin}/a`, { maxRedirects: 2 })).outcome).toBe('200 text');
  const { outcome, hops } = await follow(`${origin}/a`, { maxRedirects: 1 });
  expect(outcome).toBe('too-many');
  expect(hops).toEqual(['/a → /a', '/a → /b']);
});

test('the body of a redirect that never ends is given up', async () => {
  let closed: Promise<unknown> | undefined;
  const origin = await startServer({
    '/a': (response) => {
      closed = once(response, 'close');
      response.writeHead(302, { location: '/b' }).write('moved');
    },
    '/b': (response) => response.end('text'),
  });
  expect((await follow(`${origin}/a`)).outcome).toBe('200 text');
  await closed;
});
