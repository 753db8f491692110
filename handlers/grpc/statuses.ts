import { Metadata, type StatusObject, status as statusNames } from '@grpc/grpc-js';
import { errorCodes, HandlerError, toHandlerError } from '../../protocol/errors.ts';
import { logInternal } from '../service/log-internal.ts';
import type { Log } from './log.ts';

/** Trailing metadata that has our code of an error: a status of gRPC stands for several. */
export const ERROR_CODE_KEY = 'error-code';

/** A call whose trailing metadata is longer than HTTP/2 lets headers be ends without a status. */
const MAX_DETAILS_CHARACTERS = 1000;

/** What ends a call with an error. */
export function statusOf({ code, message }: HandlerError): StatusObject {
  const metadata = new Metadata();
  metadata.set(ERROR_CODE_KEY, code);
  const details = Buffer.from(message.slice(0, MAX_DETAILS_CHARACTERS)).toString(); // Half a surrogate pair has no URI.
  return { code: statusNames[errorCodes[code].grpc], details, metadata };
}

/** What a call ends with whose own deadline passes. */
export function deadlineError(): HandlerError {
  return new HandlerError('DEADLINE_EXCEEDED', 'Expected to answer before the deadline of the call, got no further.');
}

/** The error of a call, for its client; what the client is told nothing of goes to the log. */
export function reported(thrown: unknown, log: Log): HandlerError {
  const error = toHandlerError(thrown);
  logInternal(error, log);
  return error;
}

type PartialStatus = Pick<StatusObject, 'code' | 'details'> & { metadata?: Metadata | null };

/** A status as it leaves: those that grpc-js itself makes get our codes and words too. */
export function namedStatus(given: PartialStatus, log: Log): PartialStatus {
  const isNamed = (given.metadata?.get(ERROR_CODE_KEY).length ?? 0) > 0;
  return given.code === statusNames.OK || isNamed ? given : statusOf(reported(fromLibrary(given), log));
}

/** What grpc-js refuses or fails at. It says which only in words. */
function fromLibrary({ code, details }: PartialStatus): HandlerError {
  switch (code) {
    case statusNames.RESOURCE_EXHAUSTED:
      return new HandlerError(
        'PAYLOAD_TOO_LARGE',
        'Expected a smaller message: BLIP_MAX_BODY_BYTES bounds it, and some methods take less.',
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
          'Expected messages and metadata as their encodings say, got some that do not decode.',
        );
      return toHandlerError(details);
  }
}
