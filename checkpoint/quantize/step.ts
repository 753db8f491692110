/**
 * The value of one step, where the largest magnitude of `values` takes `largestStep` of them. Zeros may have any.
 * @throws RangeError for a value that is not finite. Its message follows "expected".
 */
export function stepOf(values: Float32Array, largestStep: number): number {
  let largest = 0;
  for (let index = 0; index < values.length; index += 1) largest = Math.max(largest, Math.abs(values[index] ?? 0));
  if (!Number.isFinite(largest)) throw new RangeError(`finite weights, got ${largest}`);
  return largest === 0 ? 1 : Math.fround(largest / largestStep);
}
