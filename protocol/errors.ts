/**
 * Everything that can go wrong with a request or with the service, by stable codes. Checkpoints have codes of their
 * own (checkpoint/errors.ts). docs/errors.md explains all of them; a test holds the two lists together.
 */
export type ErrorCode =
  | 'INVALID_REQUEST'
  | 'INVALID_INPUT'
  | 'INVALID_PARAMETER'
  | 'PROMPT_TOO_LONG'
  | 'IMAGE_SOURCE_INVALID'
  | 'IMAGE_SOURCE_BLOCKED'
  | 'IMAGE_FETCH_FAILED'
  | 'IMAGE_FETCH_TIMEOUT'
  | 'IMAGE_TOO_LARGE'
  | 'IMAGE_UNSUPPORTED'
  | 'IMAGE_CORRUPT'
  | 'UNAUTHORIZED'
  | 'NOT_FOUND'
  | 'METHOD_NOT_ALLOWED'
  | 'PAYLOAD_TOO_LARGE'
  | 'UNSUPPORTED_ENCODING'
  | 'REQUEST_TIMEOUT'
  | 'DEADLINE_EXCEEDED'
  | 'CANCELLED'
  | 'OVERLOADED'
  | 'NOT_READY'
  | 'EXECUTION_PROVIDER_UNAVAILABLE'
  | 'SETTINGS_INVALID'
  | 'INTERNAL';

/** A failure with a message that is safe to show to whoever sent the request. What must stay inside goes to `cause`. */
export class HandlerError extends Error {
  override readonly name = 'HandlerError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Any thrown value as a HandlerError: unknown ones become INTERNAL, with nothing of theirs in the message. */
export function toHandlerError(thrown: unknown): HandlerError {
  if (thrown instanceof HandlerError) return thrown;
  return new HandlerError('INTERNAL', 'Something went wrong inside the service. Its log says what.', { cause: thrown });
}
