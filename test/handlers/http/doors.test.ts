import { afterAll, expect, test } from 'vitest';
import Handler from '../../../app.ts';
import { doors } from '../../../handlers/http/doors.ts';
import { ownsRoute, routesOfDoor } from '../../../handlers/http/exchange/door.ts';
import { RouteTable } from '../../../handlers/http/exchange/route-table.ts';
import { createServer } from '../../../handlers/http/server.ts';
import { modelSettingsOf, serverTestSettings } from '../../support/server.ts';

/** Every route of the server belongs to one door of the list. */

const settings = serverTestSettings();
const server = createServer([new Handler(modelSettingsOf(settings))], settings);
afterAll(() => server.close());

/** Reads the routes as Fastify prints them: a tree, in which a line has only the segments that its parents lack. */
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

/** Stands in routes that no request reaches. */
function handler(): never {
  throw new Error('Expected no request.');
}

test('a door adds the routes of its paths, and a route of another path is refused', () => {
  const table = new RouteTable();
  const routes = routesOfDoor({ name: 'Door', paths: ['/one', '/below/*', 'GET /shared'] }, table);
  routes.add('/one', 'GET', handler);
  routes.add('/one', 'POST', handler);
  routes.add('/below/:id', 'PUT', handler);
  routes.add('/shared', 'GET', handler);
  expect(() => table.add('/below/:id', 'PUT', handler)).toThrow('Expected one answer to PUT /below/:id, got two.');
  for (const [path, method] of [
    ['/shared', 'POST'],
    ['/below', 'GET'],
    ['/one/more', 'GET'],
  ] as const) {
    const message = `Expected the routes of Door to be among its paths, got ${method} ${path}.`;
    expect(() => routes.add(path, method, handler)).toThrow(new RangeError(message));
    expect(() => table.add(path, method, handler)).not.toThrow(); // The door's refusal left no route in the table.
  }
});

test('two answers to the same method of a path are refused', () => {
  const table = new RouteTable();
  table.add('/one', 'GET', handler);
  table.add('/one', 'POST', handler);
  expect(() => table.add('/one', 'GET', handler)).toThrow('Expected one answer to GET /one, got two.');
});
