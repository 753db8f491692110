import { errorText } from '../../protocol/error-answer.ts';
import { type HandlerError, toHandlerError } from '../../protocol/errors.ts';
import { bytesTensor, type NamedTensor } from '../../protocol/named-tensor.ts';

/** Why an item has no result. */
export interface Failure {
  readonly error: HandlerError;
}

export function isFailure(outcome: object): outcome is Failure {
  return 'error' in outcome;
}

export function isSuccess<T extends object>(outcome: T | Failure): outcome is T {
  return !isFailure(outcome);
}

/** What `make` returns, or what it throws as a failure. */
export function attempt<T>(make: () => T): T | Failure {
  try {
    return make();
  } catch (thrown) {
    return { error: toHandlerError(thrown) };
  }
}

/** Why items have no result, in their order. */
export function failuresOf(outcomes: readonly object[]): readonly HandlerError[] {
  return outcomes.filter(isFailure).map(({ error }) => error);
}

/** @throws HandlerError the first failure, when there is nothing else. */
export function requireSomeSuccess(outcomes: readonly object[]): void {
  const [first] = outcomes;
  if (first !== undefined && isFailure(first) && outcomes.every(isFailure)) throw first.error;
}

/** The output `error`: one message for each item, empty for those that have a result. */
export function errorTensor(outcomes: readonly object[]): NamedTensor {
  const messages = outcomes.map((outcome) => (isFailure(outcome) ? errorText(outcome.error) : ''));
  return bytesTensor('error', [outcomes.length], messages);
}

/** The outputs asked for, and `error` besides when some items failed. */
export function withErrors(names: readonly string[], outcomes: readonly object[]): readonly string[] {
  return outcomes.some(isFailure) ? [...new Set([...names, 'error'])] : names;
}
