import { setImmediate as nextTurn } from 'node:timers/promises';
import { Busboy, type BusboyInstance } from '@fastify/busboy';
import { textElement } from '../../../protocol/binary-tensor.ts';
import { HandlerError } from '../../../protocol/errors.ts';
import { decodeTransfer } from './transfer-encoding.ts';

/** A form. Every name occurs once. */
export interface Form {
  readonly fields: ReadonlyMap<string, string>;
  /** Parts with a file name, with the type of a file, or with bytes that are no text. */
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
 * Reads `multipart/form-data` (RFC 7578) from a complete body. It is read to its end, or refused. An empty part with an
 * empty file name is as absent: browsers send it for a file that nobody chose.
 * @param contentType of the request, with its boundary.
 * @param maxFieldBytes the most bytes of one value that is not a file. A file may be as large as the body.
 * @throws HandlerError `INVALID_REQUEST`, or `PAYLOAD_TOO_LARGE` for a field beyond its limit.
 */
export async function readMultipart(body: Uint8Array, contentType: string, maxFieldBytes: number): Promise<Form> {
  if (hasPaddedDelimiter(body, contentType)) throw invalid('a form without spaces behind its boundary, got some');
  const form = await readParts(body, contentType, maxFieldBytes, (type, fileName) => {
    return fileName !== undefined || type !== TEXT_TYPE;
  });
  // The parser decodes text, and writes this character for bytes that are none. They are read once more, as they are.
  const wrong = new Set([...form.fields].flatMap(([name, text]) => (text.includes('\ufffd') ? [name] : [])));
  const whole = wrong.size === 0 ? form : await readParts(body, contentType, maxFieldBytes, () => true);
  if ([...form.files.values()].filter(isNoText).length > 1)
    throw invalid('one file at most, got more. POST /v2/models/NAME/infer takes several images');
  return {
    fields: new Map([...form.fields].filter(([name]) => !wrong.has(name))),
    files: new Map([...whole.files].filter(([name]) => form.files.has(name) || wrong.has(name))),
  };
}

const DASH = 0x2d;
const padding: readonly (number | undefined)[] = [0x20, 0x09];

/**
 * Whether spaces follow a delimiter, which RFC 2046 allows and no client writes. The parser takes them for headers of the
 * part, and loses it.
 */
function hasPaddedDelimiter(body: Uint8Array, contentType: string): boolean {
  const [, quoted, plain = ''] = /;\s*boundary=(?:"([^"]*)"|([^;\s]*))/i.exec(contentType) ?? [];
  const delimiter = `--${quoted ?? plain}`;
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  for (let start = bytes.indexOf(delimiter); start >= 0; start = bytes.indexOf(delimiter, start + 1)) {
    const end = start + delimiter.length;
    const isLast = bytes[end] === DASH && bytes[end + 1] === DASH;
    const isAtLineStart = start === 0 || bytes[start - 1] === 0x0a;
    if (isAtLineStart && !isLast && padding.includes(bytes[end])) return true;
  }
  return false;
}

function isNoText(bytes: Uint8Array): boolean {
  return typeof textElement(bytes, { acceptsBytes: true }) !== 'string';
}

/** The type of a part that names none. */
const TEXT_TYPE = 'text/plain';

type IsFile = (contentType: string | undefined, fileName: string | undefined) => boolean;

async function readParts(body: Uint8Array, contentType: string, maxFieldBytes: number, isFile: IsFile): Promise<Form> {
  const parser = createParser(contentType, maxFieldBytes, isFile);
  const progress = { hasEnded: false };
  const reading = collect(parser, maxFieldBytes).finally(() => {
    progress.hasEnded = true;
  });
  await Promise.all([reading, feed(parser, body, progress)]);
  return await reading;
}

/** @throws HandlerError `INVALID_REQUEST` when the content type has no valid boundary. */
function createParser(contentType: string, maxFieldBytes: number, isFile: IsFile): BusboyInstance {
  const limits = {
    files: MAX_PARTS,
    fields: MAX_PARTS,
    parts: MAX_PARTS,
    fieldSize: maxFieldBytes,
    headerPairs: MAX_HEADER_PAIRS,
    headerSize: MAX_HEADER_BYTES,
  };
  try {
    return new Busboy({
      headers: { 'content-type': contentType },
      limits,
      isPartAFile: (_name, type, fileName) => isFile(type, fileName),
    });
  } catch (cause) {
    throw invalid('a content type multipart/form-data with its boundary, got another', cause);
  }
}

/** Turns that a parser gets for the rest of a form. It takes one for each slice at most. */
const MIN_LAST_TURNS = 100;

/** Whether a form is read, or refused. */
interface Progress {
  readonly hasEnded: boolean;
}

/** Other requests get their turn between two slices of a form. */
async function feed(parser: BusboyInstance, body: Uint8Array, progress: Progress): Promise<void> {
  for (let start = 0; start < body.length && !progress.hasEnded; start += SLICE_BYTES) {
    if (start > 0) await nextTurn();
    parser.write(body.subarray(start, start + SLICE_BYTES));
  }
  if (progress.hasEnded) return;
  parser.end();
  // A part whose headers do not end keeps the parser from ever saying that the form has ended.
  const turns = MIN_LAST_TURNS + Math.ceil(body.length / SLICE_BYTES);
  for (let turn = 0; turn < turns && !progress.hasEnded; turn += 1) await nextTurn();
  if (!progress.hasEnded) parser.emit('error', new RangeError('Expected the end of a form, got none.'));
}

function collect(parser: BusboyInstance, maxFieldBytes: number): Promise<Form> {
  return new Promise((resolve, reject) => {
    const fields = new Map<string, string>();
    const files = new Map<string, Uint8Array>();
    const names = new Set<string>();
    const refuse = (cause: unknown) =>
      reject(invalid('a form in multipart/form-data with its boundary and CRLF, got one that does not parse', cause));
    const accept = (name: string | undefined = '') => {
      if (name === '' || names.has(name) || name.length > MAX_NAME_CHARACTERS)
        reject(invalid('every part of the form to have a unique name'));
      names.add(name);
      return name;
    };
    const keepFile = (name: string, sent: Uint8Array, encoding: string) => {
      const bytes = decodeTransfer(sent, encoding);
      if (bytes === undefined) reject(invalid(`a part in binary, base64 or quoted-printable, got another encoding`));
      else files.set(name, bytes);
    };
    parser.on('field', (fieldName, value, _isNameTruncated, isTruncated, encoding) => {
      if (isTruncated) reject(tooLarge(maxFieldBytes));
      const name = accept(fieldName);
      if (plainEncodings.includes(encoding.trim().toLowerCase())) fields.set(name, value);
      else keepFile(name, Buffer.from(value), encoding);
    });
    parser.on('file', (fieldName, stream, fileName, encoding) => {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.once('end', () => {
        if (fileName !== '' || chunks.length > 0) keepFile(accept(fieldName), Buffer.concat(chunks), encoding);
      });
      stream.once('error', refuse); // Without this listener, a truncated file would end the process.
    });
    parser.once('filesLimit', () => reject(invalid(`at most ${MAX_PARTS} files, got more`)));
    parser.once('fieldsLimit', () => reject(invalid(`at most ${MAX_PARTS} fields, got more`)));
    parser.once('partsLimit', () => reject(invalid(`at most ${MAX_PARTS} parts, got more`)));
    parser.on('error', refuse);
    parser.once('finish', () => resolve({ fields, files }));
  });
}

/** A field in one of these is its text. */
const plainEncodings: readonly string[] = ['7bit', '8bit', 'binary', ''];

function tooLarge(maxFieldBytes: number): HandlerError {
  return new HandlerError('PAYLOAD_TOO_LARGE', `Expected fields of at most ${maxFieldBytes} bytes, got a larger one.`);
}

function invalid(expectation: string, cause?: unknown): HandlerError {
  return new HandlerError('INVALID_REQUEST', `Expected ${expectation}.`, { cause });
}
