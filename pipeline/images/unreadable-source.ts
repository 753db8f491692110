import { HandlerError } from '../../protocol/errors.ts';

/**
 * Names the texts that clients send in place of an image: a value that they did not have, a path of their own disk, a
 * `data:` URI that lost its beginning. A message repeats no more of a text than a word of this file, or its scheme.
 */

interface Mistake {
  readonly pattern: RegExp;
  readonly got: string;
  /** Says what to do; absent where that is plain. */
  readonly advice?: string;
}

/** The texts that languages make of a missing value. Most of them are letters of base64. */
const missingValue = /^(?:[(<]?null[)>]?|undefined|none|nil|nullptr|nan|n\/?a|<na>|0|true|false|\[object \w+\])$/i;

const SEND_BYTES = 'Send its bytes in base64, or in a form.';
const imageEnding = String.raw`\.(?:jpe?g|jfif|png|gif|webp|avif|bmp|tiff?|heic|heif|jxl|jp2|svg|pdf)`;
const rootFolders =
  'app|bin|content|data|dev|etc|home|kaggle|media|mnt|opt|private|proc|root|srv|storage|sys|tmp|Users|usr|var|Volumes|workspace|work';

/** The first that fits counts. Patterns see the beginning of a text, which ends with `…` where it was longer. */
const mistakes: readonly Mistake[] = [
  { pattern: /^$/, got: 'an empty text' },
  {
    pattern: missingValue,
    got: 'the name of a missing value, such as null, as a text',
    advice: 'Its client had no image.',
  },
  { pattern: /^b['"]/, got: "bytes as Python prints them (b'…')", advice: 'Send what .decode() makes of them.' },
  { pattern: /^["'`]/, got: 'one in quotes', advice: 'Leave them out.' },
  { pattern: /^data:/i, got: 'a data: URI within another one', advice: 'Leave out the first beginning.' },
  { pattern: /^(?:data|https?)%3a/i, got: 'one that is percent-encoded as a whole', advice: 'Decode it once.' },
  { pattern: /^@/, got: 'a file name after @, which curl reads in forms only', advice: SEND_BYTES },
  {
    pattern: /^(?:\/\/|www\.|localhost(?:[:/]|$)|(?:[a-z0-9-]+\.)+[a-z0-9-]+(?::\d+)?\/|(?:\d+\.){3}\d+)/i,
    got: 'an address without a scheme',
    advice: 'Write https:// before it.',
  },
  {
    pattern: new RegExp(
      String.raw`^(?:file:|[a-z]:[\\/]|\\\\|~[\\/]|\.{1,2}[\\/]|/(?:${rootFolders})(?:/|$)|[^\s:,;]{1,150}${imageEnding}$)`,
      'i',
    ),
    got: 'the path of a file, which this service does not read',
    advice: SEND_BYTES,
  },
  { pattern: /^blob:/i, got: 'a blob: URL, which only the page that made it can read', advice: SEND_BYTES },
  {
    pattern: /^(?:s3|s3a|s3n|gs|gcs|hf|az|abfss?|wasbs?|adl|r2|b2|oci|oss|cos|dbfs|hdfs|minio|ipfs):/i,
    got: 'the name of an object in a store, for which this service has no key',
    advice: 'Send an https URL that is signed or public.',
  },
  {
    pattern: /^(?:image\/[\w.+-]+)?;? *(?:charset=[\w-]+;)?base64,/i,
    got: 'a data: URI without its beginning',
    advice: 'Write data: before it.',
  },
  { pattern: /^<|^&lt;/, got: 'HTML or XML' },
  { pattern: /^[{[]/, got: 'JSON as a text', advice: 'Send the value itself.' },
  { pattern: /^\S*\\/, got: 'one with backslashes, which was escaped twice', advice: 'Escape it once.' },
];

/** The longest beginning that patterns see. */
const MAX_HEAD_CHARACTERS = 200;
const MAX_SCHEME_CHARACTERS = 20;

/**
 * The error of a text that is no image source, which says what it seems to be.
 * @param text without spaces around it.
 */
export function unreadableSource(text: string): HandlerError {
  const head = text.length <= MAX_HEAD_CHARACTERS ? text : `${text.slice(0, MAX_HEAD_CHARACTERS)}…`;
  const { got, advice } = mistakes.find(({ pattern }) => pattern.test(head)) ?? unknownMistake(text, head);
  const sentence = `Expected a URL, a data: URI or base64, got ${got}.`;
  return new HandlerError('IMAGE_SOURCE_INVALID', advice === undefined ? sentence : `${sentence} ${advice}`);
}

function unknownMistake(text: string, head: string): Pick<Mistake, 'got' | 'advice'> {
  const [, scheme] = /^([a-z][a-z0-9+.-]*):/i.exec(head) ?? [];
  if (scheme !== undefined && scheme.length <= MAX_SCHEME_CHARACTERS) return { got: `an address of ${scheme}:` };
  return { got: `${text.length} characters of something else` };
}

/** Whether base64 is no image but a word or a path that happens to have its letters: `null`, `/home/ann/cat`. */
export function isMistakenForBase64(text: string): boolean {
  return text.length <= MAX_HEAD_CHARACTERS && mistakes.some(({ pattern }) => pattern.test(text));
}

/** The error of base64 whose plus signs became spaces, as in a form that was not percent-encoded. */
export function lostPlusError(): HandlerError {
  return new HandlerError(
    'IMAGE_SOURCE_INVALID',
    'Expected base64, got some with spaces where + was, as forms make of it. Write + as %2B, or send JSON.',
  );
}

/** So much of a text shows where its spaces stand. */
const SAMPLE_CHARACTERS = 100_000;

/**
 * Whether spaces in base64 stand for plus signs, and not for the line breaks that base64 may have. A line break comes
 * after every line, and leaves whole groups of four letters; plus signs stand anywhere, and are letters themselves.
 * @param text in the letters of base64, without spaces around it.
 */
export function hasLostPlus(text: string): boolean {
  if (!text.includes(' ') || /[-_+]/.test(text)) return false;
  const sample = text.slice(0, SAMPLE_CHARACTERS);
  if (/[\r\n]/.test(sample)) return sample.split(/[\r\n]+/).some((line) => line.trim().includes(' '));
  const lines = sample.split(' ');
  if (sample === text) {
    const isWhole = text.length % 4 === 0;
    const isWholeWithout = (text.length - lines.length + 1) % 4 === 0;
    if (isWhole !== isWholeWithout) return isWhole;
  }
  const lengths = new Set(lines.slice(0, -1).map((line) => line.length));
  const [lineLength = 0] = lengths;
  return lengths.size > 1 || lineLength % 4 !== 0;
}
