/**
 * Every error of a request or of the service. One table says what each code means on every platform; a test compares
 * docs/reference/errors.md with it. Checkpoints have codes of their own (checkpoint/errors.ts).
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
  | 'UNAUTHENTICATED'
  | 'PERMISSION_DENIED';

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
  /** When the error occurs, as docs/reference/errors.md says it. */
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
      'The body is not JSON, or not a request of the Open Inference Protocol, or has more than 262,144 values; or a handmade HTTP event of AWS Lambda has values that AWS does not write.',
  },
  INVALID_INPUT: {
    http: 400,
    grpc: 'INVALID_ARGUMENT',
    retryable: false,
    meaning:
      'An input is unknown, has another datatype or shape, has more than 65,536 values, or a value outside its bounds; or the request has more items or sequences than one may have (`BLIP_MAX_ITEMS_PER_REQUEST`, `BLIP_MAX_SEQUENCES_PER_REQUEST`).',
  },
  INVALID_PARAMETER: {
    http: 400,
    grpc: 'INVALID_ARGUMENT',
    retryable: false,
    meaning:
      'Generation parameters contradict each other; or they ask for more beams, texts or new tokens than the service allows (`BLIP_MAX_BEAMS`, `BLIP_MAX_NEW_TOKENS`), or than one run may take (`BLIP_MAX_RUN_BYTES`).',
  },
  PROMPT_TOO_LONG: {
    http: 400,
    grpc: 'INVALID_ARGUMENT',
    retryable: false,
    meaning:
      "Prompt and new tokens exceed the model's positions; or a text has more than 262,144 characters, or 100 for each position.",
  },
  IMAGE_SOURCE_INVALID: {
    http: 400,
    grpc: 'INVALID_ARGUMENT',
    retryable: false,
    meaning: '`img_url` is neither an http(s) URL nor a `data:` URI nor base64.',
  },
  IMAGE_SOURCE_BLOCKED: {
    http: 400,
    grpc: 'INVALID_ARGUMENT',
    retryable: false,
    meaning:
      'The host of an image, or a host that it redirects to, is an address that is private, loopback, link-local or otherwise not public, or is `localhost`; or it is not among `BLIP_IMAGE_ALLOWED_HOSTS`; or the URL is http where `BLIP_IMAGE_HTTPS_ONLY` is set.',
  },
  IMAGE_HOST_NOT_FOUND: {
    http: 424,
    grpc: 'FAILED_PRECONDITION',
    retryable: true,
    meaning:
      "The name of the image's host, or of a host that it redirects to, is unknown, or has an address that is not public and is not among `BLIP_IMAGE_PRIVATE_HOSTS`; the two are not told apart. Or no name server answered.",
  },
  IMAGE_HOST_UNREACHABLE: {
    http: 424,
    grpc: 'FAILED_PRECONDITION',
    retryable: true,
    meaning: "The image's host refuses the connection, or it does not open within 6 s.",
  },
  IMAGE_HOST_TLS_FAILED: {
    http: 424,
    grpc: 'FAILED_PRECONDITION',
    retryable: true,
    meaning: "The TLS handshake with the image's host fails, or its certificate cannot be verified.",
  },
  IMAGE_HOST_NOT_HTTP: {
    http: 424,
    grpc: 'FAILED_PRECONDITION',
    retryable: true,
    meaning: "The image's host takes the connection and answers something else than HTTP, or nothing.",
  },
  IMAGE_FETCH_FAILED: {
    http: 424,
    grpc: 'FAILED_PRECONDITION',
    retryable: true,
    meaning:
      "The image's host answers, but not with a whole image: with another status than success, with a body that breaks off or cannot be decoded as its `Content-Encoding` says; or it redirects more than `BLIP_IMAGE_MAX_REDIRECTS` times, or to something that is not a URL.",
  },
  IMAGE_FETCH_TIMEOUT: {
    http: 424,
    grpc: 'FAILED_PRECONDITION',
    retryable: true,
    meaning: 'The whole image did not arrive within `BLIP_IMAGE_TIMEOUT_MS`, from the turn of its fetch.',
  },
  IMAGE_TOO_LARGE: {
    http: 400,
    grpc: 'INVALID_ARGUMENT',
    retryable: false,
    meaning:
      "The image has more bytes than `BLIP_IMAGE_MAX_BYTES`, more pixels than `BLIP_IMAGE_MAX_PIXELS` (fewer in files that are decoded as a whole, such as AVIF), or a longer side than `BLIP_IMAGE_MAX_SIDE`; or it is so long that CLIP's resize would make more than 16,000,000 pixels of it; or one image, or all images of a retrieval or CLIP request together, would take more than `BLIP_MAX_DECODED_BYTES` decoded.",
  },
  IMAGE_UNSUPPORTED: {
    http: 400,
    grpc: 'INVALID_ARGUMENT',
    retryable: false,
    meaning:
      'The bytes are not a JPEG, PNG, WebP, GIF, AVIF, TIFF or BMP; or the checkpoint does not resize, and the image has another size than the model.',
  },
  IMAGE_CORRUPT: {
    http: 400,
    grpc: 'INVALID_ARGUMENT',
    retryable: false,
    meaning: 'The image does not decode to its end.',
  },
  IMAGE_TOO_COMPLEX: {
    http: 400,
    grpc: 'INVALID_ARGUMENT',
    retryable: false,
    meaning:
      'The image has more scans, segments, chunks, boxes, strips or entries of metadata than decoders are given; or its decoder worked for longer than `BLIP_IMAGE_DECODE_TIMEOUT_MS`.',
  },
  UNAUTHORIZED: {
    http: 401,
    grpc: 'UNAUTHENTICATED',
    retryable: false,
    headers: { 'www-authenticate': 'Bearer' },
    meaning: 'The request has no bearer token, or one that is not in `BLIP_API_TOKENS`.',
  },
  FORBIDDEN: {
    http: 403,
    grpc: 'PERMISSION_DENIED', // Never sent: browsers do not speak gRPC.
    retryable: false,
    meaning:
      'The server has no tokens, and the request is sent to a host that is neither localhost nor among `BLIP_ALLOWED_HOSTS`, or comes from a web page whose origin is not among `BLIP_ALLOWED_ORIGINS`.',
  },
  NOT_FOUND: {
    http: 404,
    grpc: 'NOT_FOUND',
    retryable: false,
    meaning:
      'The path, model or version is unknown; or this token has no such RunPod job, or its result is no longer kept.',
  },
  METHOD_NOT_ALLOWED: {
    http: 405,
    grpc: 'UNIMPLEMENTED', // Never sent: a path of gRPC has one method.
    retryable: false,
    meaning: 'The path has other methods.',
  },
  PAYLOAD_TOO_LARGE: {
    http: 413,
    grpc: 'RESOURCE_EXHAUSTED',
    retryable: false,
    meaning:
      "The body is larger than `BLIP_MAX_BODY_BYTES` (for `POST /v2/repository/index`, than 1 KiB; for RunPod's `POST run`, than 10 MiB); or a field of a form is larger than an image may be; or a message to a gRPC method that needs no token is larger than 65,536 bytes; or the answer is larger than AWS Lambda passes on; or the result of a RunPod job is larger than is kept.",
  },
  UNSUPPORTED_ENCODING: {
    http: 415,
    grpc: 'UNIMPLEMENTED',
    retryable: false,
    headers: { 'accept-encoding': 'gzip, deflate' },
    meaning: 'The body has another compression than gzip or deflate.',
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
      'The time is over that the request (`timeout`, in microseconds), the service (`BLIP_REQUEST_TIMEOUT_MS`) or the Lambda function gave it. Waiting work was dropped.',
  },
  CANCELLED: {
    http: 499,
    grpc: 'CANCELLED',
    retryable: true,
    meaning: 'The client left before it had its answer, which only log and metrics show; or a signal ended a command.',
  },
  OVERLOADED: {
    http: 429,
    grpc: 'RESOURCE_EXHAUSTED',
    retryable: true,
    headers: retryAfter,
    meaning:
      '`BLIP_MAX_QUEUE_SIZE` captions are waiting, and of this token its share; or `BLIP_MAX_SEQUENCES_PER_TOKEN` sequences of this token are waiting, or `BLIP_MAX_REQUESTS_PER_TOKEN` requests of it are running; or the bodies that arrive and wait have `BLIP_MAX_HELD_BODY_BYTES`; or fetched images that wait for the others of their requests have 600 MB; or this was the oldest of too many open calls over gRPC.',
  },
  NOT_READY: {
    http: 503,
    // Clients may repeat an UNAVAILABLE call without asking, so that no other code has this status.
    grpc: 'UNAVAILABLE',
    retryable: true,
    headers: retryAfter,
    meaning:
      'The model is not loaded yet, or no longer; or its worker threads have ended or hang, and none has started for 10 s; or the system has no process to give that an image could be decoded in; or a job was to begin in a server that is stopping; or Redis (`BLIP_REDIS_URL`) does not answer for the jobs of other replicas, or the replica of a job has died.',
  },
  EXECUTION_PROVIDER_UNAVAILABLE: {
    http: 500,
    grpc: 'INTERNAL',
    retryable: false,
    meaning:
      '`cuda` or `webgpu` was asked for, or a device of `BLIP_DEVICES`, and does not work on this machine, or not in every worker; or it was asked for with an int8 checkpoint.',
  },
  PRECISION_UNAVAILABLE: {
    http: 500,
    grpc: 'INTERNAL',
    retryable: false,
    meaning:
      '`BLIP_PRECISION` is float16 or bfloat16, and models run on the CPU or on WebGPU, because `BLIP_EXECUTION_PROVIDER` says so, CUDA does not work on this machine, or the checkpoint is int8.',
  },
  PROVIDER_INSTALL_FAILED: {
    http: 500,
    grpc: 'INTERNAL',
    retryable: false,
    meaning:
      "The command `gpu` cannot install CUDA's provider: the registry does not answer, or has no package for the installed onnxruntime; or the package has another checksum, commit or CUDA; or the folder cannot be written.",
  },
  NATIVE_LIBRARY_UNUSABLE: {
    http: 500,
    grpc: 'INTERNAL',
    retryable: false,
    meaning:
      'onnxruntime-node or sharp does not load: it is not installed, or without the native code for this system, because node_modules comes from another one or was installed without optional packages; or the system has none, such as Alpine or an Intel Mac.',
  },
  SETTINGS_INVALID: {
    http: 500,
    grpc: 'INTERNAL',
    retryable: false,
    meaning:
      'An environment variable, an option or a setting in code has an invalid value, or there is no such setting; or `BLIP_DEVICES` is set where `BLIP_EXECUTION_PROVIDER` is cpu or webgpu; or two models of one process have different `BLIP_MAX_DECODED_BYTES`; or a platform is to authorize where tokens are set; or a server cannot listen on its address and port; or the service would be open to everyone. On AWS Lambda the last case is answered to HTTP events, with 500.',
  },
  BUILD_FILE_INVALID: {
    http: 500,
    grpc: 'INTERNAL',
    retryable: false,
    meaning:
      'The command `build`: its file cannot be read or is no YAML; or it has an unknown key, or an invalid value; or its options contradict each other.',
  },
  BUILD_FAILED: {
    http: 500,
    grpc: 'INTERNAL',
    retryable: false,
    meaning:
      'The command `build`: no program that builds images is installed, or it failed; or the bundle or the native packages for the image are missing.',
  },
  INTERNAL: {
    http: 500,
    grpc: 'INTERNAL',
    retryable: true,
    meaning:
      'Something is wrong inside; or a batch ended two worker threads, or was computed for longer than `BLIP_RUN_LIMIT_MS` without progress.',
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
