import { describe, expect, test } from 'vitest';
import { RedirectCookies } from '../../network/redirect-cookies.ts';

/** The cookies for a URL after an answer of another one set some. */
async function cookiesFor(url: string, setBy: string, ...set: readonly string[]): Promise<string | undefined> {
  const cookies = new RedirectCookies();
  await cookies.store(new URL(setBy), { 'set-cookie': [...set] });
  return cookies.headerFor(new URL(url)).cookie;
}

const origin = 'https://img.example.com/a/b';

/** RFC 6265, 5.3 and 5.4. */
describe('a cookie of a redirect', () => {
  test.each([
    ['of the host', 'https://img.example.com/c', ['a=b; Path=/'], 'a=b'],
    ['of several', 'https://img.example.com/', ['a=b; Path=/', 'c="d"; path=/', 'e; PATH=/'], 'a=b; c="d"; e'],
    ['that is set anew', 'https://img.example.com/', ['a=b; Path=/', 'a=c; Path=/'], 'a=c'],
    ['of a domain', 'https://cdn.example.com/', ['a=b; Domain=example.com; Path=/'], 'a=b'],
    ['of a domain with a dot', 'https://cdn.example.com/', ['a=b; Domain=.Example.com; Path=/'], 'a=b'],
    ['without a path', 'https://img.example.com/a/c', ['a=b'], 'a=b'],
    ['of a path above', 'https://img.example.com/a/b/c', ['a=b; Path=/a/b'], 'a=b'],
    ['of another port', 'https://img.example.com:8443/a/', ['a=b'], 'a=b'],
    [
      'that is not over',
      'https://img.example.com/a/',
      ['a=b; Max-Age=5; Expires=Thu, 01 Jan 1970 00:00:00 GMT'],
      'a=b',
    ],
  ])('is sent: one %s', async (_, url, set, cookie) => {
    expect(await cookiesFor(url, origin, ...set)).toBe(cookie);
  });

  test.each([
    ['of the host alone, below it', 'https://x.img.example.com/', ['a=b; Path=/']],
    ['of the host, at its domain', 'https://example.com/', ['a=b; Path=/']],
    ['of another domain', 'https://other.org/', ['a=b; Domain=other.org; Path=/']],
    ['of another domain, at the host', 'https://img.example.com/', ['a=b; Domain=other.org; Path=/']],
    ['of a domain below', 'https://x.img.example.com/', ['a=b; Domain=x.img.example.com; Path=/']],
    ['of a domain that ends alike', 'https://notexample.com/', ['a=b; Domain=example.com; Path=/']],
    ['of another path', 'https://img.example.com/a/bc', ['a=b; Path=/a/b']],
    ['without a path, above it', 'https://img.example.com/', ['a=b']],
    ['for TLS, without it', 'http://img.example.com/', ['a=b; Secure; Path=/']],
    ['that is over', 'https://img.example.com/', ['a=b; Path=/', 'a=; Path=/; Max-Age=0']],
    ['that is over for long', 'https://img.example.com/', ['a=b; Path=/', 'a=; path=/; max-age = -1; Secure']],
    ['of an empty domain, below the host', 'https://x.img.example.com/', ['a=b; Path=/; Domain=']],
    ['that has expired', 'https://img.example.com/', ['a=b; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT']],
    ['with bytes that a header may not have', 'https://img.example.com/', ['a=b\u00e9; Path=/', 'c=d\r\nx: y; Path=/']],
    ['that is too long', 'https://img.example.com/', [`a=${'b'.repeat(5_000)}; Path=/`]],
  ])('is not sent: one %s', async (_, url, set) => {
    expect(await cookiesFor(url, origin, ...set)).toBeUndefined();
  });

  test('of an address is not sent to another one that ends alike', async () => {
    expect(
      await cookiesFor('http://1.127.0.0.1/', 'http://127.0.0.1/', 'a=b; Path=/').catch(() => undefined),
    ).toBeUndefined();
    expect(await cookiesFor('http://127.0.0.1/', 'http://127.0.0.1/', 'a=b; Domain=0.0.1; Path=/')).toBeUndefined();
    expect(await cookiesFor('http://127.0.0.1:81/', 'http://127.0.0.1/', 'a=b; Path=/')).toBe('a=b');
  });

  test('is one of 50 at the most', async () => {
    const cookies = new RedirectCookies();
    for (let index = 0; index < 100; index += 1)
      await cookies.store(new URL(origin), { 'set-cookie': [`a${index}=b; Path=/`] });
    expect(cookies.headerFor(new URL(origin)).cookie?.split('; ')).toHaveLength(50);
  });
});
