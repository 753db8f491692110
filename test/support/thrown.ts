import { expect } from 'vitest';
import { CheckpointError, type CheckpointErrorCode } from '../../checkpoint/errors.ts';
import { type ErrorCode, HandlerError } from '../../protocol/errors.ts';

/** The CheckpointError that `action` throws; it must have this code, and a message with all of these parts. */
export function expectCheckpointError(
  action: () => unknown,
  code: CheckpointErrorCode,
  parts: readonly string[],
): CheckpointError {
  const error = thrownBy(action);
  expect(error).toBeInstanceOf(CheckpointError);
  const checkpointError = error as CheckpointError; // The line above.
  expect(checkpointError).toMatchObject({ name: 'CheckpointError', code });
  for (const part of parts) expect(checkpointError.message).toContain(part);
  return checkpointError;
}

/** The HandlerError that `promise` rejects with; it must have this code. */
export async function expectHandlerError(promise: Promise<unknown>, code: ErrorCode): Promise<HandlerError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(HandlerError);
  const handlerError = error as HandlerError; // The line above.
  expect({ code: handlerError.code, message: handlerError.message }).toMatchObject({ code });
  return handlerError;
}

export function thrownBy(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  return undefined;
}
