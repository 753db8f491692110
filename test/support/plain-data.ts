/** Reading and changing data of any form, such as a manifest. */

/** The part of some data at a path; `undefined` where there is none. */
export function at(data: unknown, ...path: readonly (string | number)[]): unknown {
  return path.reduce<unknown>(
    (part, name) => (typeof part === 'object' && part !== null ? Reflect.get(part, name) : undefined),
    data,
  );
}

/** The members of a list at a path; none where there is no list. */
export function listAt(data: unknown, ...path: readonly (string | number)[]): readonly unknown[] {
  const list = at(data, ...path);
  return Array.isArray(list) ? list : [];
}

/** All objects and lists with their paths, from the root down. */
export function* branches(
  data: unknown,
  path: readonly string[] = [],
): Generator<{ readonly path: readonly string[]; readonly branch: object }> {
  if (typeof data !== 'object' || data === null) return;
  yield { path, branch: data };
  for (const [name, child] of Object.entries(data)) yield* branches(child, [...path, name]);
}

/** The parts with a name, wherever they stand. */
export function allNamed(data: unknown, name: string): readonly unknown[] {
  return [...branches(data)].flatMap(({ branch }) => (name in branch ? [Reflect.get(branch, name)] : []));
}

/** A copy with another part at one path. */
export function withPart(data: object, [name, ...rest]: readonly string[], part: unknown): object {
  const copy = Array.isArray(data) ? [...data] : { ...data };
  if (name === undefined) return copy;
  const child: unknown = Reflect.get(copy, name);
  const isInner = rest.length > 0 && typeof child === 'object' && child !== null;
  Reflect.set(copy, name, isInner ? withPart(child, rest, part) : part);
  return copy;
}
