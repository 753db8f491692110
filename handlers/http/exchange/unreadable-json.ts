import { isUtf8 } from 'node:buffer';

/** Names the kind of a body that is no JSON, as the end of "Expected a JSON body, got …". Repeats nothing of the body. */

interface Kind {
  /** Whether the first bytes, as Latin-1, are of the kind. */
  readonly fits: (head: string) => boolean;
  readonly got: string;
}

const startsWith = (beginnings: readonly string[]) => (head: string) =>
  beginnings.some((beginning) => head.startsWith(beginning));
const matches = (pattern: RegExp) => (head: string) => pattern.test(head);

/** Byte order marks, and JSON's first characters with a zero beside them. */
const utf16 = ['\xff\xfe', '\xfe\xff', '\0{', '\0[', '{\0', '[\0'];
const images = ['\xff\xd8\xff', '\x89PNG', 'GIF8', 'RIFF'];

const kinds: readonly Kind[] = [
  { fits: startsWith(utf16), got: 'text in UTF-16. Send UTF-8.' },
  { fits: startsWith(['\x1f\x8b']), got: 'gzip. Send content-encoding: gzip with it.' },
  { fits: startsWith(images), got: 'an image. Send it in base64, or as it is to POST /.' },
  {
    fits: matches(/^(?:\r?\n)?--[^\r\n]{1,100}\r?\ncontent-/i),
    got: 'a form in multipart/form-data. POST /generate takes forms.',
  },
  { fits: matches(/^\s*</), got: 'HTML or XML.' },
  { fits: matches(/^\s*[{[]\s*'/), got: 'a dictionary as Python prints it. Send what json.dumps makes of it.' },
  { fits: matches(/^[\w.+-]+(?:%\w\w[\w.%+-]*)?=/), got: 'a form that is urlencoded. Send JSON.' },
];

/** So many bytes tell a kind. */
const HEAD_BYTES = 400;

/** @param bytes that do not parse as JSON in UTF-8. */
export function unreadableJson(bytes: Uint8Array): string {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, HEAD_BYTES)).toString('latin1');
  const kind = kinds.find(({ fits }) => fits(head));
  if (kind !== undefined) return kind.got;
  if (!isUtf8(bytes)) return `${bytes.length} bytes that are not UTF-8.`;
  if (/[[:,]\s*-?(?:NaN|Infinity)\b/.test(head)) return 'NaN or Infinity, which JSON has no word for.';
  return `${bytes.length} bytes that do not parse.`;
}
