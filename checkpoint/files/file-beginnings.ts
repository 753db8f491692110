import { isUtf8 } from 'node:buffer';

/** A file that is none of a checkpoint's: its kind, and what to do about it. */
export interface ForeignFile {
  readonly what: string;
  readonly advice: string;
}

/** Says for messages which foreign file lies in the place of an expected one. */
export function describeForeign(
  path: string,
  expected: string,
  { what, advice }: ForeignFile,
  sizeBytes: number,
): string {
  const size = sizeBytes === 0 ? '' : ` of ${sizeBytes} bytes`;
  return `${path}: expected ${expected}, got ${what}${size}. ${advice}`;
}

/** Bytes at the beginning of a file that tell what it is. */
export const BEGINNING_BYTES = 512;

const OPENING_BRACE = 0x7b;
/** A few bytes of weights may look like text. */
const MIN_TEXT_BYTES = 8;

const AGAIN = 'Download it again.';
const UNPACK = 'Unpack it, or download the file itself.';
const AS_UTF8 = 'Save it as UTF-8 without a byte order mark.';
const PAGE = 'Download the file itself: on the Hub its address has /resolve/, not /blob/.';
const LARGE_FILES = 'Run `git lfs pull` in its folder, or download it again.';

/** Files that begin with these bytes are no files of a checkpoint. */
const signatures: readonly (readonly [hex: string, what: string, advice: string])[] = [
  ['1f8b', 'gzip data', UNPACK],
  ['28b52ffd', 'Zstandard data', UNPACK],
  ['425a68', 'bzip2 data', UNPACK],
  ['fd377a585a00', 'xz data', UNPACK],
  ['377abcaf271c', 'a 7z archive', UNPACK],
  ['526172211a07', 'a RAR archive', UNPACK],
  ['fffe', 'text in UTF-16', AS_UTF8],
  ['feff', 'text in UTF-16', AS_UTF8],
  ['25504446', 'a PDF document', AGAIN],
  ['89504e47', 'a PNG image', AGAIN],
  ['ffd8ff', 'a JPEG image', AGAIN],
];

/** Signatures of weights, which no text file may begin with. */
const weightsSignatures: typeof signatures = [
  ['504b0304', 'a zip archive, as torch writes weights,', 'Each file must lie under its own name.'],
  ['8002', 'a pickle', 'Each file must lie under its own name.'],
  ['89484446', 'HDF5, as Keras writes weights,', 'Each file must lie under its own name.'],
  ['47475546', 'GGUF, as llama.cpp reads weights,', 'Use a checkpoint in Hugging Face layout.'],
];

/** Texts that begin so, in lower case and without white space before, are no files of a checkpoint. */
const beginnings: readonly (readonly [beginning: RegExp, what: string, advice: string])[] = [
  [/^version https:\/\/(git-lfs|hawser)\.github\.com\/spec/, 'a Git LFS pointer', LARGE_FILES],
  [/^# xet version|^xet version /, 'a Xet pointer', LARGE_FILES],
  [/^(<!--.*?-->\s*)?(<!doctype html|<html|<head|<body)/s, 'an HTML page', PAGE],
  [/^<\?xml[^>]*>\s*<error|^<error/, "a storage server's error in XML", AGAIN],
  [/^<(\?xml|[a-z]+ xmlns)/, 'an XML document', AGAIN],
  [/^(http\/1\.[01]|http\/2) \d/, "a server's answer with its headers", AGAIN],
];

/**
 * Tells bytes that are no file of a checkpoint by their beginning, without quoting them: what servers, proxies, git and
 * half-finished downloads leave in its place.
 * @param start the first bytes, `BEGINNING_BYTES` where the file has as many.
 */
export function recognizeForeign(start: Uint8Array): ForeignFile | undefined {
  if (start.length === 0) return { what: 'an empty file', advice: AGAIN };
  const signature = recognizeSignature(start, signatures);
  if (signature !== undefined) return signature;
  if (start.length >= 16 && start.every((byte) => byte === 0)) return { what: 'zeros', advice: AGAIN };
  if (isTar(start)) return { what: 'a tar archive', advice: UNPACK };
  const text = Buffer.from(start.buffer, start.byteOffset, start.length).toString('latin1');
  const words = text
    .replace(/^\xef\xbb\xbf/, '')
    .trimStart()
    .toLowerCase(); // After the byte order mark of UTF-8.
  const found = beginnings.find(([beginning]) => beginning.test(words));
  return found && { what: found[1], advice: found[2] };
}

/** As `recognizeForeign`, for all bytes of a file that must be text in UTF-8. */
export function recognizeNoText(bytes: Uint8Array): ForeignFile | undefined {
  const foreign = recognizeForeign(bytes.subarray(0, BEGINNING_BYTES)) ?? recognizeSignature(bytes, weightsSignatures);
  if (foreign !== undefined) return foreign;
  return isUtf8(bytes) ? undefined : { what: 'bytes that are no text in UTF-8', advice: AGAIN };
}

/** As `recognizeForeign`, for weights: no form of them is JSON, or any other text. */
export function recognizeNoWeights(start: Uint8Array): ForeignFile | undefined {
  if (isSafetensors(start)) return undefined;
  const [first, second] = start;
  const isJson = first === OPENING_BRACE && (second === 0x22 || second === 0x0a || second === 0x0d || second === 0x20);
  const foreign = recognizeForeign(start);
  if (foreign !== undefined) return foreign;
  if (isJson) return { what: 'JSON, perhaps the error of a server,', advice: AGAIN };
  return start.length >= MIN_TEXT_BYTES && start.every(isOfText) ? { what: 'text', advice: AGAIN } : undefined;
}

/** White space, or a sign of ASCII. */
function isOfText(byte: number): boolean {
  return (byte >= 0x20 && byte < 0x7f) || (byte >= 0x09 && byte <= 0x0d);
}

/** A tar archive begins with the name of its first file. */
function isTar(start: Uint8Array): boolean {
  return Buffer.from(start.subarray(257, 262)).toString('latin1') === 'ustar';
}

/** Whether a header follows its length, whose first bytes may be any, even those of gzip. No header has 4 GB. */
function isSafetensors(start: Uint8Array): boolean {
  return start[8] === OPENING_BRACE && start.subarray(4, 8).every((byte) => byte === 0);
}

function recognizeSignature(start: Uint8Array, known: typeof signatures): ForeignFile | undefined {
  const hex = Buffer.from(start.buffer, start.byteOffset, Math.min(start.length, 16)).toString('hex');
  const found = known.find(([signature]) => hex.startsWith(signature));
  return found && { what: found[1], advice: found[2] };
}
