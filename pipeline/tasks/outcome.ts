import { errorText } from '../../protocol/error-answer.ts';
import { type HandlerError, toHandlerError } from '../../protocol/errors.ts';
import { bytesTensor, type NamedTensor } from '../../protocol/named-tensor.ts';

/** The reason why an item has no result. */
export interface Failure {
  readonly error: HandlerError;
}

export function isFailure(outcome: object): outcome is Failure {
  return 'error' in outcome;
}

export function isSuccess<T extends object>(outcome: T | Failure): outcome is T {
  return !isFailure(outcome);
}

/** Returns the value of `make`, or a failure with the error that it throws. */
export function attempt<T>(make: () => T): T | Failure {
  try {
    return make();
  } catch (thrown) {
    return { error: toHandlerError(thrown) };
  }
}

/** The errors of the items that failed, in their order. */
export function failuresOf(outcomes: readonly object[]): readonly HandlerError[] {
  return outcomes.filter(isFailure).map(({ error }) => error);
}

/** @throws HandlerError the first failure, when all items failed. */
export function requireSomeSuccess(outcomes: readonly object[]): void {
  const [first] = outcomes;
  if (first !== undefined && isFailure(first) && outcomes.every(isFailure)) throw first.error;
}

/** Makes the output `error`: one message for each item, empty for items that have a result. */
export function errorTensor(outcomes: readonly object[]): NamedTensor {
  const messages = outcomes.map((outcome) => (isFailure(outcome) ? errorText(outcome.error) : ''));
  return bytesTensor('error', [outcomes.length], messages);
}

/** The requested outputs, and `error` too when some items failed. */
export function withErrors(names: readonly string[], outcomes: readonly object[]): readonly string[] {
  return outcomes.some(isFailure) ? [...new Set([...names, 'error'])] : names;
}
