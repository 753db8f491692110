import type { Value } from './graph.ts';

/**
 * Values in a nested structure of objects and lists: the state of a loop, or the result of a branch. The operators of
 * control flow know flat lists only; these functions go there and back.
 */

/** Every value with its path, such as `beams.scores` or `cache.3.keys`, in the order of the keys. */
export function flatten(tree: object, path = ''): readonly (readonly [path: string, value: Value])[] {
  if (isValue(tree)) return [[path, tree]];
  return Object.entries(tree).flatMap(([key, branch]) => flatten(branch, path === '' ? key : `${path}.${key}`));
}

/** A structure like `tree` with every value replaced by `replace(path, value)`, which must keep its element type. */
export function mapValues<T extends object>(tree: T, replace: (path: string, value: Value) => Value, path = ''): T {
  if (isValue(tree)) return replace(path, tree) as T & Value; // A value replaces a value of the same element type.
  const entries = Object.entries(tree).map(([key, branch]) => [
    key,
    mapValues(branch, replace, path === '' ? key : `${path}.${key}`),
  ]);
  const replaced: unknown = Array.isArray(tree) ? entries.map(([, branch]) => branch) : Object.fromEntries(entries);
  return replaced as T; // It has the keys of `tree`, and values of their kinds.
}

function isValue(tree: object): tree is Value {
  return 'name' in tree && typeof tree.name === 'string' && 'elementType' in tree;
}
