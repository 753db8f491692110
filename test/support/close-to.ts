import { expect } from 'vitest';

export interface Tolerance {
  readonly absolute: number;
  readonly relative?: number;
}

/** `|got - want| <= absolute + relative * |want|` for every element, as numpy.allclose has it. */
export function expectClose(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  { absolute, relative = 0 }: Tolerance,
): void {
  expect(got.length).toBe(want.length);
  const worst = { excess: 0, index: -1, got: 0, want: 0 };
  for (let index = 0; index < want.length; index += 1) {
    const [a, b] = [got[index] ?? Number.NaN, want[index] ?? Number.NaN];
    const excess = Math.abs(a - b) - absolute - relative * Math.abs(b);
    if (!(excess <= worst.excess)) Object.assign(worst, { excess, index, got: a, want: b });
  }
  expect(worst, 'the element that is furthest out of tolerance').toMatchObject({ index: -1 });
}
