import type { ErrorCode } from './errors.ts';

/** HTTP status of each error code. Nothing else knows status numbers. docs/errors.md says why each is what it is. */
export const httpStatus: { readonly [Code in ErrorCode]: number } = {
  INVALID_REQUEST: 400,
  INVALID_INPUT: 400,
  INVALID_PARAMETER: 400,
  PROMPT_TOO_LONG: 400,
  IMAGE_SOURCE_INVALID: 400,
  IMAGE_FETCH_FAILED: 424,
  IMAGE_FETCH_TIMEOUT: 424,
  IMAGE_TOO_LARGE: 400,
  IMAGE_UNSUPPORTED: 400,
  IMAGE_CORRUPT: 400,
  UNAUTHORIZED: 401,
  NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  PAYLOAD_TOO_LARGE: 413,
  UNSUPPORTED_ENCODING: 415,
  REQUEST_TIMEOUT: 408,
  OVERLOADED: 429,
  NOT_READY: 503,
  EXECUTION_PROVIDER_UNAVAILABLE: 500,
  SETTINGS_INVALID: 500,
  INTERNAL: 500,
};
