/** Steps that are tried, as parts of the one in which the largest value just fits. A finer one cuts off a few values. */
const PARTS = [1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7] as const;

/**
 * The value of one step, in which `values` lose least (the sum of squares of the differences) when they are rounded to
 * at most `largestStep` steps in both directions. Zeros may have any.
 * @throws RangeError for a value that is not finite. Its message follows "expected".
 */
export function stepOf(values: Float32Array, largestStep: number): number {
  let largest = 0;
  for (let index = 0; index < values.length; index += 1) largest = Math.max(largest, Math.abs(values[index] ?? 0));
  if (!Number.isFinite(largest)) throw new RangeError(`finite weights, got ${largest}`);
  if (largest === 0) return 1;
  const steps = PARTS.map((part) => Math.fround((largest * part) / largestStep));
  const errors = steps.map((step) => squaredError(values, step, largestStep));
  return steps[errors.indexOf(Math.min(...errors))] ?? 1;
}

function squaredError(values: Float32Array, step: number, largestStep: number): number {
  let sum = 0;
  for (let index = 0; index < values.length; index += 1) {
    const value = values[index] ?? 0;
    const difference = value - rounded(value, step, largestStep) * step;
    sum += difference * difference;
  }
  return sum;
}

/** A value in steps, of which there are at most `largestStep` in both directions. */
export function rounded(value: number, step: number, largestStep: number): number {
  return Math.max(-largestStep, Math.min(largestStep, Math.round(value / step)));
}
