import { CodingError, codingsOf, decodeBody } from '../../network/content-codings.ts';
import { discardBody } from '../../network/discard-body.ts';
import { type HttpAnswer, headerValue } from '../../network/http-get.ts';
import { HandlerError } from '../../protocol/errors.ts';
import type { FetchDeadline } from './fetch-deadline.ts';
import { tooLarge } from './fetch-failures.ts';
import type { FetchedBytes } from './fetched-bytes.ts';

/** How a body is read. */
export interface BodyOptions {
  readonly maxBytes: number;
  /** Takes the memory that the body needs. */
  readonly fetchedBytes: FetchedBytes;
  readonly deadline: FetchDeadline;
  readonly signal: AbortSignal;
}

/** An image's bytes, as far as its host's answer has them. */
export interface FetchedImage {
  readonly bytes: Uint8Array;
  /** Why the bytes are still in a coding. They may be an image as they are. */
  readonly codingError?: CodingError;
}

/** The most that a coding adds to bytes that do not shrink. */
const CODING_OVERHEAD = 1.01;
const CODING_HEADER_BYTES = 1_024;

/**
 * Reads the body of an answer, and takes its content codings off.
 * @param host a phrase that names the host, for messages.
 * @throws HandlerError `IMAGE_FETCH_FAILED` or `IMAGE_TOO_LARGE`; CodingError; the errors of the connection.
 */
export async function readImageBody(answer: HttpAnswer, host: string, options: BodyOptions): Promise<FetchedImage> {
  const refusal = refusalOf(answer);
  if (refusal !== undefined) {
    discardBody(answer.body);
    throw new HandlerError('IMAGE_FETCH_FAILED', `Expected an answer of 200 from ${host}, got ${refusal}.`);
  }
  const codings = codingsOf(answer.headers);
  if (codings.length === 0) return { bytes: await readBytes(answer, options.maxBytes, options) };
  const mostBytes = Math.ceil(options.maxBytes * CODING_OVERHEAD) + CODING_HEADER_BYTES;
  const coded = await readBytes(answer, mostBytes, options);
  const hold = (byteCount: number) => grow(byteCount, 3 * mostBytes, options);
  try {
    const bytes = await decodeBody(coded, codings, { maxBytes: mostBytes, signal: options.signal, hold });
    if (bytes.length <= options.maxBytes) return { bytes };
  } catch (thrown) {
    // Some hosts name a coding that they did not apply, and curl shows what they sent.
    if (thrown instanceof CodingError && ['unknown', 'invalid'].includes(thrown.problem))
      return { bytes: coded, codingError: thrown };
    throw thrown;
  }
  throw tooLarge(options.maxBytes);
}

/**
 * Why an answer has no image: browsers show one of any status, but an image that comes with an error says so, and is not
 * the one that was asked for. Of the statuses of success, 204 and 205 have no body.
 */
function refusalOf({ status, headers }: HttpAnswer): string | undefined {
  if (status < 200 || status > 299 || status === 204 || status === 205) return String(status);
  return status === 206 && !isWhole(headerValue(headers, 'content-range')) ? '206 with a part of it' : undefined;
}

/** Whether a range is all of it. Some hosts answer 206 to those who asked for no range. */
function isWhole(contentRange: string | undefined): boolean {
  if (contentRange === undefined) return true;
  const [, first, last, length] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/i.exec(contentRange.trim()) ?? [];
  return first === '0' && (length === '*' || Number(last) + 1 === Number(length));
}

/** @throws HandlerError `IMAGE_TOO_LARGE`. */
async function readBytes({ headers, body }: HttpAnswer, maxBytes: number, options: BodyOptions): Promise<Uint8Array> {
  const declared = headerValue(headers, 'content-length');
  const mostBytes = declared === undefined ? maxBytes : Math.min(maxBytes, Number(declared));
  if (Number(declared ?? 0) <= maxBytes) {
    const bytes = await readAtMost(body, maxBytes, (receivedBytes) => grow(receivedBytes, mostBytes, options));
    if (bytes !== undefined) return bytes;
  }
  discardBody(body);
  throw tooLarge(options.maxBytes);
}

/** Time does not pass while it waits. */
async function grow(byteCount: number, mostBytes: number, { fetchedBytes, deadline }: BodyOptions): Promise<void> {
  if (!fetchedBytes.has(byteCount)) await deadline.during(fetchedBytes.growTo(byteCount, mostBytes));
}

/** The whole body, or `undefined` when it has more bytes. @param receive waits until there is room for them. */
async function readAtMost(
  body: HttpAnswer['body'],
  maxBytes: number,
  receive: (receivedBytes: number) => Promise<void>,
): Promise<Uint8Array | undefined> {
  const chunks: Buffer[] = [];
  let receivedBytes = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    receivedBytes += chunk.length;
    if (receivedBytes > maxBytes) return undefined;
    await receive(receivedBytes);
  }
  return Buffer.concat(chunks);
}
