/** A number is fixed; a string names a dimension that is known only at run time. */
export type Dimension = number | string;

/** A shape as far as the writer of a graph knows it: `undefined` is a dimension that has no name either. */
export type Shape = readonly (Dimension | undefined)[];

/** `[rows, 768, ?]` */
export function describeShape(shape: Shape | undefined): string {
  return shape === undefined ? 'of unknown rank' : `[${shape.map((size) => size ?? '?').join(', ')}]`;
}

/** Whether two dimensions cannot be equal. Two names may stand for one number. */
export function differ(a: Dimension | undefined, b: Dimension | undefined): boolean {
  return typeof a === 'number' && typeof b === 'number' && a !== b;
}

/** Whether a shape has this rank, and known dimensions that are equal to the expected ones. An unknown shape may. */
export function matches(shape: Shape | undefined, expected: Shape): boolean {
  if (shape === undefined) return true;
  return shape.length === expected.length && !shape.some((size, axis) => differ(size, expected[axis]));
}

/** The dimension that two values share, where one of them is known. */
function commonDimension(a: Dimension | undefined, b: Dimension | undefined): Dimension | undefined {
  if (a === b) return a;
  if (typeof a === 'number') return a;
  return typeof b === 'number' ? b : undefined;
}

/** Broadcasts as ONNX does (docs/Broadcasting.md). `null` where the shapes do not fit. */
export function broadcast(a: Shape | undefined, b: Shape | undefined): Shape | undefined | null {
  if (a === undefined || b === undefined) return undefined;
  const rank = Math.max(a.length, b.length);
  const result: (Dimension | undefined)[] = [];
  for (let axis = 0; axis < rank; axis += 1) {
    const left = axis < rank - a.length ? 1 : a[axis - rank + a.length];
    const right = axis < rank - b.length ? 1 : b[axis - rank + b.length];
    if (left === 1) result.push(right);
    else if (right === 1) result.push(left);
    else if (differ(left, right)) return null;
    else result.push(commonDimension(left, right));
  }
  return result;
}

/**
 * The shape that Reshape gives `x`: -1 follows from the others, and 0 copies.
 * `null` where both have fixed sizes, and they are not equal.
 */
export function reshaped(x: Shape | undefined, target: Shape): Shape | null {
  const copied = target.map((size, axis) => (size === 0 ? x?.[axis] : size));
  const inferredAt = copied.indexOf(-1);
  const size = x === undefined ? undefined : elementCount(x);
  const others = elementCount(copied.filter((_, axis) => axis !== inferredAt));
  if (inferredAt < 0) return size !== undefined && others !== undefined && size !== others ? null : copied;
  if (size === undefined || others === undefined || others === 0) return copied.with(inferredAt, undefined);
  return size % others === 0 ? copied.with(inferredAt, size / others) : null;
}

function elementCount(shape: Shape): number | undefined {
  let count = 1;
  for (const size of shape) {
    if (typeof size !== 'number') return undefined;
    count *= size;
  }
  return count;
}

/** Parts side by side along `axis`, which counts from the front. `null` where they differ along another axis. */
export function concatenated(parts: readonly (Shape | undefined)[], axis: number): Shape | undefined | null {
  const [first, ...others] = parts;
  if (first === undefined) return undefined;
  let result: Shape = first;
  for (const part of others) {
    if (part === undefined) return undefined;
    if (part.length !== first.length) return null;
    if (result.some((size, other) => other !== axis && differ(size, part[other]))) return null;
    result = result.map((size, other) =>
      other === axis ? sum(size, part[other]) : commonDimension(size, part[other]),
    );
  }
  return result;
}

function sum(a: Dimension | undefined, b: Dimension | undefined): number | undefined {
  return typeof a === 'number' && typeof b === 'number' ? a + b : undefined;
}
