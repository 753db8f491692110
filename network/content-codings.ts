import type { IncomingHttpHeaders } from 'node:http';
import type { Transform } from 'node:stream';
import * as zlib from 'node:zlib';

/** curl takes as many. Without a bound a chain of them costs any time. */
const MAX_CODINGS = 5;
/** The largest window that browsers take: RFC 9659. Without the bound a body of some bytes takes 128 MB. */
const ZSTD_WINDOW_BITS = 23;

/**
 * Why a body is not decoded: it has too many codings, or one that is unknown here; its bytes are not in its coding; or
 * more bytes come out than there may be.
 */
export type CodingProblem = 'too-many' | 'unknown' | 'invalid' | 'too-large';

export class CodingError extends Error {
  override readonly name = 'CodingError';
  readonly problem: CodingProblem;

  constructor(problem: CodingProblem) {
    super(`The body cannot be decoded: ${problem}.`);
    this.problem = problem;
  }
}

/** One way to read a body. */
interface Attempt {
  readonly open: () => Transform;
  /** How many bytes stand before those that the decoder reads. */
  readonly headerBytes?: (body: Uint8Array) => number;
}

/** A missing end is no error, as in browsers and curl: some hosts never flush. The image tells whether it is whole. */
const lenient = { finishFlush: zlib.constants.Z_SYNC_FLUSH };
const lenientBrotli = { finishFlush: zlib.constants.BROTLI_OPERATION_FLUSH };

const inflateRaw: Attempt = { open: () => zlib.createInflateRaw(lenient) };
/** The second way ends with the first stream, and so lets bytes pass that come after it. */
const gunzip: readonly Attempt[] = [
  { open: () => zlib.createGunzip(lenient) },
  { ...inflateRaw, headerBytes: gzipHeaderBytes },
];

/** How each coding is read: by the first way that ends well, or else by the one that brings the most. */
const decoders: ReadonlyMap<string, readonly Attempt[]> = new Map<string, readonly Attempt[]>([
  ['gzip', gunzip],
  ['x-gzip', gunzip],
  // RFC 9110 has the header of zlib around it. Some hosts leave it away, and browsers take both.
  ['deflate', [{ open: () => zlib.createInflate(lenient) }, inflateRaw]],
  ['br', [{ open: () => zlib.createBrotliDecompress(lenientBrotli) }]],
  ...zstdDecoders(),
]);

/** Node has zstd since 22.15. */
function zstdDecoders(): readonly (readonly [string, readonly Attempt[]])[] {
  // The types are those of the oldest Node that is served.
  const { createZstdDecompress, constants } = zlib as typeof zlib & {
    readonly createZstdDecompress?: (options: { readonly params: Readonly<Record<number, number>> }) => Transform;
    readonly constants: { readonly ZSTD_d_windowLogMax?: number };
  };
  const { ZSTD_d_windowLogMax: windowLogMax } = constants;
  if (createZstdDecompress === undefined || windowLogMax === undefined) return [];
  return [['zstd', [{ open: () => createZstdDecompress({ params: { [windowLogMax]: ZSTD_WINDOW_BITS } }) }]]];
}

/**
 * RFC 1952, 2.3: ten bytes, then whatever their flags announce: extra fields, a name, a comment, a checksum.
 * @throws CodingError where the body does not begin as gzip does.
 */
function gzipHeaderBytes(body: Uint8Array): number {
  if (body[0] !== 0x1f || body[1] !== 0x8b) throw new CodingError('invalid');
  const flags = body[3] ?? 0;
  let end = 10;
  if ((flags & 4) !== 0) end += 2 + (body[end] ?? 0) + (body[end + 1] ?? 0) * 256;
  for (const text of [8, 16]) if ((flags & text) !== 0) end = body.indexOf(0, end) + 1;
  return (flags & 2) === 0 ? end : end + 2;
}

/** The codings that are decoded, for messages. */
export const codingNames: readonly string[] = [...decoders.keys()].filter((name) => !name.startsWith('x-'));

/** The codings of a body in the order in which they were applied: of the content, and of its transfer. */
export function codingsOf(headers: IncomingHttpHeaders): readonly string[] {
  return [...listed(headers['content-encoding']), ...listed(headers['transfer-encoding'])].filter(
    (coding) => !['identity', 'chunked'].includes(coding), // node:http has joined the chunks.
  );
}

function listed(value = ''): readonly string[] {
  return value
    .toLowerCase()
    .split(',')
    .map((coding) => coding.trim())
    .filter((coding) => coding !== '');
}

/** Bounds of decoding. */
export interface DecodingBounds {
  /** That may come out of each coding. */
  readonly maxBytes: number;
  readonly signal: AbortSignal;
  /** Waits until there is room for so many bytes: those that go in, those that have come out, and these joined. */
  readonly hold?: (byteCount: number) => Promise<void>;
}

/**
 * Decodes a body, the last coding first.
 * @throws CodingError; the signal's reason.
 */
export async function decodeBody(
  body: Uint8Array,
  codings: readonly string[],
  bounds: DecodingBounds,
): Promise<Uint8Array> {
  if (codings.length > MAX_CODINGS) throw new CodingError('too-many');
  const ways = codings.map((coding) => decoders.get(coding));
  let bytes = body;
  for (const attempts of ways.reverse()) {
    if (attempts === undefined || ways.includes(undefined)) throw new CodingError('unknown');
    if (bytes.length > 0) bytes = await decodeByAny(attempts, bytes, bounds);
  }
  return bytes;
}

/** The image tells whether what comes out is whole. */
async function decodeByAny(
  attempts: readonly Attempt[],
  bytes: Uint8Array,
  bounds: DecodingBounds,
): Promise<Uint8Array> {
  let longest: Uint8Array | undefined;
  for (const { open, headerBytes } of attempts) {
    const { decoded, isWhole } = await decodeBy(open(), bytes.subarray(headerBytes?.(bytes) ?? 0), bounds);
    if (isWhole || decoded.length > 0) longest = decoded.length < (longest?.length ?? 0) ? longest : decoded;
    if (isWhole) break;
  }
  if (longest === undefined) throw new CodingError('invalid');
  return longest;
}

/** Whatever comes out before the bytes stop making sense: some hosts send more after the end. */
async function decodeBy(
  decoder: Transform,
  bytes: Uint8Array,
  { maxBytes, signal, hold }: DecodingBounds,
): Promise<{ readonly decoded: Uint8Array; readonly isWhole: boolean }> {
  const chunks: Buffer[] = [];
  let decodedBytes = 0;
  try {
    decoder.end(bytes);
    for await (const chunk of decoder) {
      signal.throwIfAborted();
      chunks.push(chunk);
      decodedBytes += chunk.length;
      if (decodedBytes > maxBytes) throw new CodingError('too-large');
      await hold?.(bytes.length + 2 * decodedBytes);
    }
    return { decoded: Buffer.concat(chunks), isWhole: true };
  } catch (thrown) {
    if (signal.aborted || thrown instanceof CodingError) throw thrown;
    return { decoded: Buffer.concat(chunks), isWhole: false };
  } finally {
    decoder.destroy();
  }
}
