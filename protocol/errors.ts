/**
 * Every error of a request or of the service. One table says what each code means on every platform; a test compares
 * docs/errors.md with it. Checkpoints have codes of their own (checkpoint/errors.ts).
 */

/** Names of gRPC's status codes. Source: grpc/grpc, doc/statuscodes.md. */
export type GrpcStatusName =
  | 'CANCELLED'
  | 'INVALID_ARGUMENT'
  | 'DEADLINE_EXCEEDED'
  | 'NOT_FOUND'
  | 'RESOURCE_EXHAUSTED'
  | 'FAILED_PRECONDITION'
  | 'UNIMPLEMENTED'
  | 'INTERNAL'
  | 'UNAVAILABLE'
  | 'UNAUTHENTICATED';

interface ErrorKind {
  /** HTTP status of an answer with this error. */
  readonly http: number;
  readonly grpc: GrpcStatusName;
  /**
   * Whether the same request may succeed later without a change, so that a queue should deliver it again. An error that
   * depends on the request alone is a result: it would come back every time (docs/decisions/0010-aws-lambda.md).
   */
  readonly retryable: boolean;
  /** Headers that an HTTP answer has besides its content type. */
  readonly headers?: Readonly<Record<string, string>>;
  /** When the error occurs, as docs/errors.md says it. */
  readonly meaning: string;
}

/** Seconds after which a refused client should ask again. */
const retryAfter = { 'retry-after': '1' };

const table = {
  INVALID_REQUEST: {
    http: 400,
    grpc: 'INVALID_ARGUMENT',
    retryable: false,
    meaning:
      'The body is not JSON or not a request of the Open Inference Protocol; or an HTTP event of AWS Lambda was written by hand and differs from those that AWS sends.',
  },
  INVALID_INPUT: {
    http: 400,
    grpc: 'INVALID_ARGUMENT',
    retryable: false,
    meaning:
      'An input is unknown, has another datatype or shape, has more than 65,536 values, or has a value outside its range.',
  },
  INVALID_PARAMETER: {
    http: 400,
    grpc: 'INVALID_ARGUMENT',
    retryable: false,
    meaning: 'Generation parameters contradict each other.',
  },
  PROMPT_TOO_LONG: {
    http: 400,
    grpc: 'INVALID_ARGUMENT',
    retryable: false,
    meaning: 'The prompt and the new tokens together need more positions than the model has.',
  },
  IMAGE_SOURCE_INVALID: {
    http: 400,
    grpc: 'INVALID_ARGUMENT',
    retryable: false,
    meaning: '`img_url` is not an http(s) URL, a `data:` URI or base64.',
  },
  IMAGE_SOURCE_BLOCKED: {
    http: 400,
    grpc: 'INVALID_ARGUMENT',
    retryable: false,
    meaning:
      'The host of an image, or one that it redirects to, has an address that is not public (private, loopback, link-local), or is not among `BLIP_IMAGE_ALLOWED_HOSTS`; or the URL is http where https is required.',
  },
  IMAGE_FETCH_FAILED: {
    http: 424,
    grpc: 'FAILED_PRECONDITION',
    retryable: true,
    meaning:
      "The image's host cannot be reached, does not answer with 200, redirects more often than `BLIP_IMAGE_MAX_REDIRECTS`, or redirects to something that is not a URL.",
  },
  IMAGE_FETCH_TIMEOUT: {
    http: 424,
    grpc: 'FAILED_PRECONDITION',
    retryable: true,
    meaning: 'The whole image did not arrive within `BLIP_IMAGE_TIMEOUT_MS`.',
  },
  IMAGE_TOO_LARGE: {
    http: 400,
    grpc: 'INVALID_ARGUMENT',
    retryable: false,
    meaning:
      "The image has more bytes than `BLIP_IMAGE_MAX_BYTES`, more pixels than `BLIP_IMAGE_MAX_PIXELS` (fewer in formats that are decoded as a whole, such as AVIF) or a longer side than `BLIP_IMAGE_MAX_SIDE`; or CLIP's resize would make more than 16,000,000 pixels of it; or the decoded image, or all decoded images of one retrieval or CLIP request, would exceed `BLIP_MAX_DECODED_BYTES`.",
  },
  IMAGE_UNSUPPORTED: {
    http: 400,
    grpc: 'INVALID_ARGUMENT',
    retryable: false,
    meaning:
      'The bytes are not a JPEG, PNG, WebP, GIF or AVIF file; or the checkpoint does not resize, and the image has another size than the model needs.',
  },
  IMAGE_CORRUPT: {
    http: 400,
    grpc: 'INVALID_ARGUMENT',
    retryable: false,
    meaning: 'The image cannot be decoded to its end.',
  },
  UNAUTHORIZED: {
    http: 401,
    grpc: 'UNAUTHENTICATED',
    retryable: false,
    headers: { 'www-authenticate': 'Bearer' },
    meaning: 'The request has no bearer token, or one that is not in `BLIP_API_TOKENS`.',
  },
  NOT_FOUND: {
    http: 404,
    grpc: 'NOT_FOUND',
    retryable: false,
    meaning:
      "The path, the model or its version is unknown; or a job of RunPod's door does not belong to this token, or its result is no longer kept.",
  },
  METHOD_NOT_ALLOWED: {
    http: 405,
    grpc: 'UNIMPLEMENTED', // Never sent: a path of gRPC has one method.
    retryable: false,
    meaning: 'The path has other methods; the header `Allow` names them.',
  },
  PAYLOAD_TOO_LARGE: {
    http: 413,
    grpc: 'RESOURCE_EXHAUSTED',
    retryable: false,
    meaning:
      "The body is larger than `BLIP_MAX_BODY_BYTES`, or than its path accepts (1 KiB for `POST /v2/repository/index`, 10 MiB for `POST /run` of RunPod's door); or a field of a form is larger than an image may be; or a message to a gRPC method that needs no token is larger than 65,536 bytes; or the answer is larger than AWS Lambda passes on; or the output of a job of RunPod's door is larger than is kept.",
  },
  UNSUPPORTED_ENCODING: {
    http: 415,
    grpc: 'UNIMPLEMENTED',
    retryable: false,
    headers: { 'accept-encoding': 'gzip, deflate' },
    meaning: 'The body is compressed with something other than gzip or deflate.',
  },
  REQUEST_TIMEOUT: {
    http: 408,
    grpc: 'DEADLINE_EXCEEDED',
    retryable: true,
    meaning:
      'The headers did not arrive within 15 s, or the whole request within a minute; or a stream that needs no token had no message for a minute.',
  },
  DEADLINE_EXCEEDED: {
    http: 504,
    grpc: 'DEADLINE_EXCEEDED',
    retryable: true,
    meaning:
      'The request took longer than it allows (`timeout`, in microseconds), the service allows (`BLIP_REQUEST_TIMEOUT_MS`) or the Lambda function allows. Whatever of it was still waiting was dropped.',
  },
  CANCELLED: {
    http: 499,
    grpc: 'CANCELLED',
    retryable: true,
    meaning: 'The client left before the answer, so that only the log shows this code; or a signal ended a command.',
  },
  OVERLOADED: {
    http: 429,
    grpc: 'RESOURCE_EXHAUSTED',
    retryable: true,
    headers: retryAfter,
    meaning:
      '`BLIP_MAX_QUEUE_SIZE` captions are waiting, or `BLIP_MAX_REQUESTS_PER_TOKEN` requests of this token are running.',
  },
  NOT_READY: {
    http: 503,
    // Clients may repeat an UNAVAILABLE call without asking, so that no other code has this status.
    grpc: 'UNAVAILABLE',
    retryable: true,
    headers: retryAfter,
    meaning:
      'The model is not loaded yet, or not any more; or its worker threads have ended and none has started again for 10 s; or a job was to begin in a server that is about to stop.',
  },
  EXECUTION_PROVIDER_UNAVAILABLE: {
    http: 500,
    grpc: 'INTERNAL',
    retryable: false,
    meaning:
      'The settings ask for `cuda` or `webgpu`, and it does not work on this machine or the checkpoint has int8 weights.',
  },
  SETTINGS_INVALID: {
    http: 500,
    grpc: 'INTERNAL',
    retryable: false,
    meaning:
      'An environment variable has an invalid value; or Vertex AI would be let in without tokens although tokens are set; or everyone would be let in. AWS Lambda answers HTTP events with 500 in the last case.',
  },
  INTERNAL: {
    http: 500,
    grpc: 'INTERNAL',
    retryable: true,
    meaning: 'Something failed inside the service; or a batch ended two worker threads.',
  },
} as const satisfies Readonly<Record<string, ErrorKind>>;

/** A code stays the same between versions. A code without a row does not compile. */
export type ErrorCode = keyof typeof table;

/** The table, for lookups by any code. */
export const errorCodes: Readonly<Record<ErrorCode, ErrorKind>> = table;

/** A failure whose message the sender of the request may see. Details that must stay inside go to `cause`. */
export class HandlerError extends Error {
  override readonly name = 'HandlerError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Turns any thrown value into a HandlerError. An unknown one becomes INTERNAL; its message stays inside, as the cause. */
export function toHandlerError(thrown: unknown): HandlerError {
  if (thrown instanceof HandlerError) return thrown;
  return new HandlerError('INTERNAL', 'Something went wrong inside the service. Its log says what.', { cause: thrown });
}
