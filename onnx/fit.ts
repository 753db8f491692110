import type { ElementType } from './element-type.ts';
import { isOfType, nodeName, type Place, type Value } from './graph.ts';
import { describeShape, type Shape } from './shape.ts';

/** An operator whose inputs do not fit each other: the message has the node's name, and types and shapes of the inputs. */
export function mismatch(
  place: Place,
  operator: string,
  expected: string,
  ...values: readonly (Value | undefined)[]
): RangeError {
  const present = values.filter((value) => value !== undefined);
  return new RangeError(
    `${nodeName(place, operator)}: expected ${expected}, got ${present.map(describe).join(' and ')}.`,
  );
}

/** `float32 [rows, 768]` */
function describe({ elementType, shape }: Value): string {
  return `${elementType} ${describeShape(shape)}`;
}

/** @throws RangeError where the values are of several types. */
export function requireOneType(place: Place, operator: string, ...values: readonly (Value | undefined)[]): void {
  const elementType = values[0]?.elementType;
  for (const value of values) {
    if (value !== undefined && value.elementType !== elementType)
      throw mismatch(place, operator, 'values of one type', ...values);
  }
}

/**
 * The value itself, for an operator that has no form for another type.
 * @throws RangeError where it is of another type.
 */
export function requireType<T extends ElementType>(
  place: Place,
  operator: string,
  value: Value,
  elementType: T,
): Value<T> {
  if (isOfType(value, elementType)) return value;
  throw mismatch(place, operator, elementType, value);
}

/**
 * Axes of a value counted from the front, where its rank is known.
 * @param rank of the value that has these axes: of `x`, unless the operator adds dimensions to it.
 * @throws RangeError where there is no such axis, or two are the same.
 */
export function axesOf(
  place: Place,
  operator: string,
  x: Value,
  axes: readonly number[],
  rank = x.shape?.length,
): readonly number[] | undefined {
  if (rank === undefined) return undefined;
  const fromFront = axes.map((axis) => (axis < 0 ? axis + rank : axis));
  const exist = fromFront.every((axis) => Number.isInteger(axis) && axis >= 0 && axis < rank);
  if (!exist || new Set(fromFront).size < axes.length) {
    throw new RangeError(
      `${nodeName(place, operator)}: expected axes among ${rank} dimensions, each at most once, ` +
        `got ${axes.join(', ')} for ${describe(x)}.`,
    );
  }
  return fromFront;
}

/**
 * The shape of `x` with other dimensions in place of `axis`; with none, the axis is left out.
 * @throws RangeError where `x` has no such axis.
 */
export function replaceAxis(
  place: Place,
  operator: string,
  x: Value,
  axis: number,
  replacement: Shape,
): Shape | undefined {
  const [position] = axesOf(place, operator, x, [axis]) ?? [];
  return position === undefined ? undefined : x.shape?.toSpliced(position, 1, ...replacement);
}

export function withShape<T extends Value>(value: T, shape: Shape | undefined): T {
  return shape === undefined ? value : { ...value, shape };
}
