import type { FastifyRequest } from 'fastify';
import { HandlerError } from '../../../protocol/errors.ts';
import { requireFewValues } from '../../../protocol/value-count.ts';
import { unreadableJson } from './unreadable-json.ts';

/** The header with the length of the JSON in a body that has binary tensors after it. */
const JSON_LENGTH_HEADER = 'inference-header-content-length';

/**
 * The bytes of a body.
 * @param expected a description of the body, for the message.
 * @throws HandlerError `INVALID_REQUEST` when the body is empty.
 */
export function requireBody(body: unknown, expected: string): Uint8Array {
  if (body instanceof Uint8Array && body.length > 0) return body;
  throw new HandlerError('INVALID_REQUEST', `Expected ${expected}, got none.`);
}

/** The value of a JSON body. @throws HandlerError `INVALID_REQUEST` when it is not JSON in UTF-8, or has too many values. */
export function parseJson(body: unknown): unknown {
  const bytes = requireBody(body, 'a JSON body');
  requireFewValues(bytes);
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new HandlerError('INVALID_REQUEST', `Expected a JSON body, got ${unreadableJson(bytes)}`, { cause });
  }
}

/**
 * Splits a body into its JSON and the binary tensors after it.
 * Source: triton-inference-server/server, docs/protocol/extension_binary_data.md.
 * @throws HandlerError `INVALID_REQUEST`.
 */
export function splitBody({ body, headers }: FastifyRequest): { readonly json: unknown; readonly binary: Uint8Array } {
  const header = headers[JSON_LENGTH_HEADER];
  if (header === undefined || !(body instanceof Uint8Array)) return { json: parseJson(body), binary: new Uint8Array() };
  const length = /^\d{1,15}$/.test(String(header)) ? Number(header) : Number.NaN;
  if (!(length > 0 && length <= body.length)) {
    throw new HandlerError(
      'INVALID_REQUEST',
      `Expected ${JSON_LENGTH_HEADER} to be the bytes of JSON in a body of ${body.length}, got another value. ` +
        'A body without JSON is not served: these models have several inputs.',
    );
  }
  return { json: parseJson(body.subarray(0, length)), binary: body.subarray(length) };
}
