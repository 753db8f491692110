import { describe, expect, test } from 'vitest';
import { exceededBounds, shapeOf } from '../../build/house.ts';
import { readSources, type Source } from '../../build/sources.ts';

/** The script `shape` on houses small enough to count by hand, and its reading of one file of ours. */

function source(path: string, imports: readonly string[] = [], lengths: readonly number[] = []): Source {
  const functions = lengths.map((lines, index) => ({ name: `function${index}`, lines }));
  return { path, imports, functions, exportedTypes: [], uncheckedCasts: [] };
}

describe('the shape of a folder', () => {
  const sources = [
    source('a/door/one.ts', ['a/shared.ts', 'a/door/two.ts', 'b/elsewhere.ts', 'undici']),
    source('a/door/two.ts', ['a/shared.ts']),
    source('a/shared.ts', ['a/hall/hall.ts']),
    source('a/hall/hall.ts'),
    source('b/elsewhere.ts', ['a/shared.ts']),
  ];

  test('has the files and folders directly below as rooms, and arrows between those alone', () => {
    const { rooms, arrows, upwards } = shapeOf('a', sources);
    expect(rooms).toEqual(['door', 'hall', 'shared.ts']);
    expect(arrows).toEqual([
      { from: 'door', to: 'shared.ts', imports: 2 },
      { from: 'shared.ts', to: 'hall', imports: 1 },
    ]);
    expect(upwards).toEqual([]);
  });

  test('of the whole has the top folders as rooms; the thinner arrow of a circle runs upwards', () => {
    const { rooms, arrows, upwards } = shapeOf('', [...sources, source('b/more.ts', ['a/hall/hall.ts'])]);
    expect(rooms).toEqual(['a', 'b']);
    expect(arrows).toHaveLength(2);
    expect(upwards).toEqual([{ from: 'a', to: 'b', imports: 1 }]);
  });

  test('finds a circle of three rooms', () => {
    const circle = [source('x.ts', ['y.ts']), source('y.ts', ['z.ts']), source('z.ts', ['x.ts'])];
    expect(shapeOf('', circle).upwards).toHaveLength(1);
  });
});

test.each([
  [[1], 1, 1],
  [[1, 2, 3, 4], 2, 4],
  [[10, 9, 8, 7, 6, 5, 4, 3, 2, 1], 5, 9],
])('functions of %j lines have a median of %i and a 90th percentile of %i', (lines, median, percentile90) => {
  const { lengths } = shapeOf('', [source('x.ts', [], lines)]);
  expect(lengths).toMatchObject({ count: lines.length, median, percentile90 });
  expect(lengths.longest[0]?.lines).toBe(Math.max(...lines));
});

test('says which bound of a folder is exceeded', () => {
  const rooms = Array.from({ length: 7 }, (_, index) => source(`handlers/room-${index}.ts`));
  expect(exceededBounds(shapeOf('handlers', rooms))).toEqual(['handlers: expected rooms of at most 6, got 7']);
  expect(exceededBounds(shapeOf('handlers', rooms.slice(1)))).toEqual([]);
  expect(exceededBounds(shapeOf('', [source('x.ts', [], [56])]))).toContain(
    'the whole: expected longest of at most 55, got 56',
  );
});

test('reads imports, functions and exported types of a file', () => {
  const sources = readSources();
  expect(sources.filter(({ path }) => /^(?:test|bench|build|dist)\/|\/generated\/|node_modules/.test(path))).toEqual(
    [],
  );
  const response = sources.find(({ path }) => path === 'protocol/inference-response.ts');
  expect(response?.imports).toContain('protocol/named-tensor.ts');
  expect(response?.exportedTypes).toContain('InferenceResponse');
  const handler = sources.find(({ path }) => path === 'app.ts');
  expect(handler?.functions.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['initialize', 'infer', 'finalize']),
  );
});
