import { errorCodes, type HandlerError } from './errors.ts';

/** The forms in which an error leaves the process. Errors of checkpoints have the same two parts. */

interface CodedError {
  readonly code: string;
  readonly message: string;
}

/** The JSON of an error, wherever an answer is JSON. */
export function errorBody({ code, message }: CodedError): { readonly error: string; readonly code: string } {
  return { error: message, code };
}

/** One line of text, wherever an answer has room for a text only: `CODE: message`. */
export function errorText({ code, message }: CodedError): string {
  return `${code}: ${message}`;
}

/** An HTTP answer, which the HTTP server, Node's socket or AWS Lambda sends. */
export interface ErrorAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** The HTTP answer to a request that failed. */
export function errorAnswer(error: HandlerError): ErrorAnswer {
  const { http: status, headers } = errorCodes[error.code];
  return {
    status,
    headers: { ...headers, 'content-type': 'application/json' },
    body: JSON.stringify(errorBody(error)),
  };
}
