import { errorText } from '../../protocol/error-answer.ts';
import { HandlerError, toHandlerError } from '../../protocol/errors.ts';
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

/** One of the images of a request. */
export interface ImagePlace {
  readonly index: number;
  readonly count: number;
}

/** An outcome whose error says which image of several it is about. Errors of other things stay as they are. */
export function atImage<T extends object>(outcome: T | Failure, { index, count }: ImagePlace): T | Failure {
  if (!isFailure(outcome) || count === 1 || !outcome.error.code.startsWith('IMAGE_')) return outcome;
  const { code, message } = outcome.error;
  return { error: new HandlerError(code, `Image ${index + 1} of ${count}: ${message}`, { cause: outcome.error }) };
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
