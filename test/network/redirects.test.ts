import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { Agent } from 'undici';
import { describe, expect, onTestFinished, test } from 'vitest';
import { getThrough } from '../../network/http-get.ts';
import { followRedirects, type RedirectPolicy } from '../../network/redirects.ts';
import { startServer } from '../support/loopback-server.ts';

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
