/** Steps that are tried, as parts of the one in which the largest value just fits. A finer one cuts off a few values. */
const PARTS = [1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7] as const;

/** Doubles of this size have no digits behind the point, so that adding it rounds. */
const ROUNDER = 1.5 * 2 ** 52;

/** The nearest whole number, the even one of two; faster than `Math.round`. */
export function nearestWhole(value: number): number {
  return value + ROUNDER - ROUNDER;
}

/**
 * The value of one step, in which the largest of values just fits when they are rounded to at most `largestStep` steps in
 * both directions. Zeros may have any.
 * @param from the place of the first of the values.
 * @param to the place behind the last.
 * @throws RangeError for a value that is not finite. Its message follows "expected".
 */
export function fittingStep(values: Float32Array, from: number, to: number, largestStep: number): number {
  return Math.fround(finiteMagnitude(values, from, to) / largestStep) || 1;
}

/**
 * The value of one step, in which values lose least (the sum of squares of the differences) when they are rounded to at
 * most `largestStep` steps in both directions. Zeros may have any.
 * @throws as `fittingStep` does.
 */
export function stepOf(values: Float32Array, from: number, to: number, largestStep: number): number {
  const largest = finiteMagnitude(values, from, to);
  let best = 1;
  let leastError = Number.POSITIVE_INFINITY;
  for (const part of PARTS) {
    const step = Math.fround((largest * part) / largestStep);
    const error = step === 0 ? leastError : squaredError(values, from, to, step, largestStep);
    if (error >= leastError) continue;
    leastError = error;
    best = step;
  }
  return best;
}

/** The error of a weight that nothing can be made of. Its message follows "expected". */
export function notFinite(value: number): RangeError {
  return new RangeError(`finite weights, got ${value}`);
}

function finiteMagnitude(values: Float32Array, from: number, to: number): number {
  let largest = 0;
  for (let place = from; place < to; place += 1) largest = Math.max(largest, Math.abs(values[place] ?? 0));
  if (Number.isFinite(largest)) return largest;
  throw notFinite(largest);
}

function squaredError(values: Float32Array, from: number, to: number, step: number, largestStep: number): number {
  const perStep = 1 / step;
  let sum = 0;
  for (let place = from; place < to; place += 1) {
    const value = values[place] ?? 0;
    const difference = value - rounded(value * perStep, largestStep) * step;
    sum += difference * difference;
  }
  return sum;
}

/** The nearest whole number of steps, of which there are at most `largestStep` in both directions. */
export function rounded(steps: number, largestStep: number): number {
  const whole = nearestWhole(steps);
  if (whole > largestStep) return largestStep;
  return whole < -largestStep ? -largestStep : whole;
}
