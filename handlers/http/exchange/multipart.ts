import { setImmediate as nextTurn } from 'node:timers/promises';
import { Busboy, type BusboyInstance } from '@fastify/busboy';
import { HandlerError } from '../../../protocol/errors.ts';

/** A form. Every name occurs once. */
export interface Form {
  readonly fields: ReadonlyMap<string, string>;
  readonly files: ReadonlyMap<string, Uint8Array>;
}

/** Enough for an image, a text and every parameter. */
const MAX_PARTS = 32;
const MAX_HEADER_PAIRS = 32;
const MAX_HEADER_BYTES = 8192;
const MAX_NAME_CHARACTERS = 100;

/** The parser gets slices of this size, so that other requests have their turns, and a refused form is read no further. */
const SLICE_BYTES = 65_536;

/**
 * Reads `multipart/form-data` (RFC 7578) from a complete body. It is read to its end, or refused.
 * @param contentType of the request, with its boundary.
 * @param maxFieldBytes the most bytes of one value that is not a file. A file may be as large as the body.
 * @throws HandlerError `INVALID_REQUEST`, or `PAYLOAD_TOO_LARGE` for a field beyond its limit.
 */
export async function readMultipart(body: Uint8Array, contentType: string, maxFieldBytes: number): Promise<Form> {
  const parser = createParser(contentType, maxFieldBytes);
  const refused = new AbortController();
  const reading = collect(parser, maxFieldBytes).catch((error: unknown) => {
    refused.abort();
    throw error;
  });
  await Promise.all([reading, feed(parser, body, refused.signal)]);
  return await reading;
}

/** @throws HandlerError `INVALID_REQUEST` when the content type has no valid boundary. */
function createParser(contentType: string, maxFieldBytes: number): BusboyInstance {
  const limits = {
    files: 1,
    fields: MAX_PARTS,
    parts: MAX_PARTS,
    fieldSize: maxFieldBytes,
    headerPairs: MAX_HEADER_PAIRS,
    headerSize: MAX_HEADER_BYTES,
  };
  try {
    return new Busboy({ headers: { 'content-type': contentType }, limits });
  } catch (cause) {
    throw invalid('a content type multipart/form-data with its boundary, got another', cause);
  }
}

async function feed(parser: BusboyInstance, body: Uint8Array, refused: AbortSignal): Promise<void> {
  for (let start = 0; start < body.length && !refused.aborted; start += SLICE_BYTES) {
    parser.write(body.subarray(start, start + SLICE_BYTES));
    await nextTurn();
  }
  if (!refused.aborted) parser.end();
}

function collect(parser: BusboyInstance, maxFieldBytes: number): Promise<Form> {
  return new Promise((resolve, reject) => {
    const fields = new Map<string, string>();
    const files = new Map<string, Uint8Array>();
    const names = new Set<string>();
    const refuse = (cause: unknown) =>
      reject(invalid('a form in multipart/form-data, got one that does not parse', cause));
    const accept = (name: string | undefined = '') => {
      if (name === '' || names.has(name) || name.length > MAX_NAME_CHARACTERS)
        reject(invalid('every part of the form to have a unique name'));
      names.add(name);
      return name;
    };
    parser.on('field', (name, value, _isNameTruncated, isTruncated) => {
      if (isTruncated) reject(tooLarge(maxFieldBytes));
      fields.set(accept(name), value);
    });
    parser.on('file', (fieldName, stream) => {
      const name = accept(fieldName);
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.once('end', () => files.set(name, Buffer.concat(chunks)));
      stream.once('error', refuse); // Without this listener, a truncated file would end the process.
    });
    parser.once('filesLimit', () => reject(invalid('one file at most, got more')));
    parser.once('fieldsLimit', () => reject(invalid(`at most ${MAX_PARTS} fields, got more`)));
    parser.once('partsLimit', () => reject(invalid(`at most ${MAX_PARTS} parts, got more`)));
    parser.on('error', refuse);
    parser.once('finish', () => resolve({ fields, files }));
  });
}

function tooLarge(maxFieldBytes: number): HandlerError {
  return new HandlerError('PAYLOAD_TOO_LARGE', `Expected fields of at most ${maxFieldBytes} bytes, got a larger one.`);
}

function invalid(expectation: string, cause?: unknown): HandlerError {
  return new HandlerError('INVALID_REQUEST', `Expected ${expectation}.`, { cause });
}
