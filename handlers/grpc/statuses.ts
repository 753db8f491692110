import { Metadata, type StatusObject, status as statusNames } from '@grpc/grpc-js';
import { errorCodes, HandlerError, toHandlerError } from '../../protocol/errors.ts';
import type { Log } from '../service/log.ts';
import { logInternal } from '../service/log-internal.ts';

/** Trailing metadata with our code of an error, because one status of gRPC stands for several codes. */
export const ERROR_CODE_KEY = 'error-code';

/** HTTP/2 limits the length of headers; a call whose trailing metadata is longer would end without a status. */
const MAX_DETAILS_CHARACTERS = 1000;

/** The status that ends a call with an error. */
export function statusOf({ code, message }: HandlerError): StatusObject {
  const metadata = new Metadata();
  metadata.set(ERROR_CODE_KEY, code);
  // Through a Buffer: the cut may leave half a surrogate pair, which cannot be percent-encoded.
  const details = Buffer.from(message.slice(0, MAX_DETAILS_CHARACTERS)).toString();
  return { code: statusNames[errorCodes[code].grpc], details, metadata };
}

/** The error of a call whose own deadline passes. */
export function deadlineError(): HandlerError {
  const message = 'Expected the answer before the deadline of the call, got none by then. Allow more time.';
  return new HandlerError('DEADLINE_EXCEEDED', message);
}

/** The error of a call, for its client. The cause of an internal one goes to the log. */
export function reported(thrown: unknown, log: Log): HandlerError {
  const error = toHandlerError(thrown);
  logInternal(error, log);
  return error;
}

export type PartialStatus = Pick<StatusObject, 'code' | 'details'> & { metadata?: Metadata | null };

/** A status with our error code. Statuses that grpc-js makes itself get our messages too. */
export function withErrorCode(status: PartialStatus, log: Log): PartialStatus {
  const hasErrorCode = (status.metadata?.get(ERROR_CODE_KEY).length ?? 0) > 0;
  return status.code === statusNames.OK || hasErrorCode ? status : statusOf(reported(fromLibrary(status), log));
}

/** The error that a status of grpc-js stands for. Some are told apart by their words alone. */
function fromLibrary({ code, details }: PartialStatus): HandlerError {
  switch (code) {
    case statusNames.RESOURCE_EXHAUSTED:
      return new HandlerError(
        'PAYLOAD_TOO_LARGE',
        'Expected a message within the limit (BLIP_MAX_BODY_BYTES, or less for methods without a token), got a larger one.',
      );
    case statusNames.DEADLINE_EXCEEDED:
      return deadlineError();
    case statusNames.UNIMPLEMENTED:
      if (/encoding/.test(details))
        return new HandlerError('UNSUPPORTED_ENCODING', 'Expected messages in gzip, deflate or identity, got another.');
      return new HandlerError('INVALID_REQUEST', 'Expected one message in the call, got none or several.');
    default:
      if (/decompress|grpc-timeout/.test(details))
        return new HandlerError(
          'INVALID_REQUEST',
          'Expected messages and metadata in the encodings that they name, got some that do not decode.',
        );
      return toHandlerError(details);
  }
}
