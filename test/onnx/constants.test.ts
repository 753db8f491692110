import { expect, test } from 'vitest';
import { constant } from '../../onnx/constants.ts';
import { createGraph } from '../../onnx/graph.ts';

const countTo = (count: number) => Array.from({ length: count }, (_, index) => index);

test.each([
  ['a number', 3, 'constant.int64[](3)'],
  ['a short list', [1, 2, 3], 'constant.int64[3](1,2,3)'],
  ['a list of 64 numbers', countTo(64), `constant.int64[64](${countTo(64).join(',')})`],
])('a constant is named by what it holds: %s', (_, literal, name) => {
  expect(constant(createGraph('g'), 'int64', literal).name).toBe(name);
});

test('a table of many numbers has a short name, which another table has not', () => {
  const graph = createGraph('g');
  const table = countTo(100_000);
  const { name } = constant(graph, 'float32', table);
  expect(name.length).toBeLessThan(120);
  expect(constant(graph, 'float32', table).name).toBe(name);
  expect(constant(graph, 'float32', [...table.slice(1), 0]).name).not.toBe(name);
  expect(constant(graph, 'float32', table, [1_000, 100]).name).not.toBe(name);
  expect(graph.initializers.size).toBe(3);
});
