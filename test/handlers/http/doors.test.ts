import { afterAll, expect, test } from 'vitest';
import Handler from '../../../app.ts';
import { doors } from '../../../handlers/http/doors.ts';
import { ownsRoute } from '../../../handlers/http/exchange/door.ts';
import { RouteTable } from '../../../handlers/http/exchange/route-table.ts';
import { createServer } from '../../../handlers/http/server.ts';
import { testSettings } from '../../support/server.ts';

/** Every route of the server belongs to one door of the list. */

const settings = testSettings();
const server = createServer([new Handler(settings)], settings);
afterAll(() => server.close());

/** The routes as Fastify prints them: a tree, whose lines have the segments that the lines above lack. */
function routesOf(printed: string): readonly (readonly [method: string, url: string])[] {
  const parents: string[] = [];
  return printed.split('\n').flatMap((line) => {
    const [, indent = '', segment = '', methods = ''] = /^([\s│]*)[├└]── (\S*)(?: \((.+)\))?$/.exec(line) ?? [];
    const depth = indent.length / 4;
    const url = `${depth === 0 ? '' : parents[depth - 1]}${segment}`;
    parents[depth] = url;
    return methods === '' ? [] : methods.split(', ').map((method) => [method, url] as const);
  });
}

const routes = routesOf(server.printRoutes({ commonPrefix: false }));
const answered = routes.filter(([method]) => ['GET', 'POST', 'PUT'].includes(method));

test('the routes are read as they are', () => {
  expect(new Set(routes.map(([, url]) => url)).size).toBeGreaterThan(50);
  for (const [method, url] of routes) expect(server.hasRoute({ method, url }), `${method} ${url}`).toBe(true);
});

test('every path belongs to one door, or to several that answer other methods', () => {
  const ownersOf = (method: string, url: string) =>
    doors.filter((door) => ownsRoute(door, method, url)).map(({ name }) => name);
  const shared = new Map([
    ['GET /', ['page and docs']],
    ['POST /', ['Hugging Face']],
    ['PUT /', []],
  ]);
  for (const [method, url] of answered) {
    const owners = ownersOf(method, url);
    expect(owners, `${method} ${url}`).toEqual(shared.get(`${method} ${url}`) ?? [expect.any(String)]);
  }
});

test('every path that a door claims has a route', () => {
  for (const { name, paths } of doors)
    for (const path of paths)
      expect(
        answered.some(([method, url]) => ownsRoute({ paths: [path] }, method, url)),
        `${name}: ${path}`,
      ).toBe(true);
});

test('no two doors have the same name', () => {
  const names = doors.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
});

test('two answers to the same method of a path are refused', () => {
  const table = new RouteTable();
  const handler = () => {
    throw new Error('Expected no request.');
  };
  table.add('/one', 'GET', handler);
  table.add('/one', 'POST', handler);
  expect(() => table.add('/one', 'GET', handler)).toThrow('Expected one answer to GET /one, got two.');
});
