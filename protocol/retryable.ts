import type { ErrorCode } from './errors.ts';

/**
 * Whether the same request may succeed later, without anybody changing it: what a queue should deliver again. What
 * depends on the request alone fails alike every time, and is a result. docs/decisions/0010-aws-lambda.md has reasons.
 */
export const retryable: { readonly [Code in ErrorCode]: boolean } = {
  INVALID_REQUEST: false,
  INVALID_INPUT: false,
  INVALID_PARAMETER: false,
  PROMPT_TOO_LONG: false,
  IMAGE_SOURCE_INVALID: false,
  IMAGE_SOURCE_BLOCKED: false,
  IMAGE_FETCH_FAILED: true,
  IMAGE_FETCH_TIMEOUT: true,
  IMAGE_TOO_LARGE: false,
  IMAGE_UNSUPPORTED: false,
  IMAGE_CORRUPT: false,
  UNAUTHORIZED: false,
  NOT_FOUND: false,
  METHOD_NOT_ALLOWED: false,
  PAYLOAD_TOO_LARGE: false,
  UNSUPPORTED_ENCODING: false,
  REQUEST_TIMEOUT: true,
  DEADLINE_EXCEEDED: true,
  CANCELLED: true,
  OVERLOADED: true,
  NOT_READY: true,
  EXECUTION_PROVIDER_UNAVAILABLE: false,
  SETTINGS_INVALID: false,
  INTERNAL: true,
};
