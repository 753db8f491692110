import { nodeName, type Place, type Value } from './graph.ts';
import { describeShape, type Shape } from './shape.ts';

/** An operator whose inputs do not fit each other: the message has the node's name, and types and shapes of the inputs. */
export function mismatch(
  place: Place,
  operator: string,
  expected: string,
  ...values: readonly (Value | undefined)[]
): RangeError {
  const present = values.filter((value) => value !== undefined);
  const got = present.map(({ elementType, shape }) => `${elementType} ${describeShape(shape)}`).join(' and ');
  return new RangeError(`${nodeName(place, operator)}: expected ${expected}, got ${got}.`);
}

/** @throws RangeError where the values are of several types. */
export function requireOneType(place: Place, operator: string, ...values: readonly (Value | undefined)[]): void {
  const elementType = values[0]?.elementType;
  for (const value of values) {
    if (value !== undefined && value.elementType !== elementType)
      throw mismatch(place, operator, 'values of one type', ...values);
  }
}

export function withShape<T extends Value>(value: T, shape: Shape | undefined): T {
  return shape === undefined ? value : { ...value, shape };
}
