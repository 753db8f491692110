import { invalidTokenizer } from './definitions/tokenizer-files.ts';
import { graphemesOf } from './graphemes.ts';

/** A grapheme of more bytes is read character by character. */
const MAX_GRAPHEME_BYTES = 5;
/** The longest of Unicode's has 33 bytes (U+FDFA). */
const MAX_REPLACEMENT_BYTES = 64;

const utf8 = new TextEncoder();
const foreign = /[^ -~]/;
/** Letters and signs that are graphemes by themselves: no mark can follow, as the last one of each run is left out. */
const plainRun = /[ -~]+(?![^ -~])/g;

/** The normalization that SentencePiece compiled into a model: what each character, or short grapheme, becomes. */
export interface Charsmap {
  /** A double-array trie (Darts) over bytes of UTF-8. */
  readonly trie: Uint32Array;
  /** Replacements one after the other, each with a zero at its end. */
  readonly replacements: Buffer;
}

/**
 * Reads `precompiled_charsmap` of tokenizer.json or of a SentencePiece model: the trie's size in bytes, the trie, and the
 * replacements (sentencepiece/src/normalizer.cc, `DecodePrecompiledCharsMap`).
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`.
 */
export function readCharsmap(path: string, base64: unknown): Charsmap {
  if (typeof base64 !== 'string') throw invalidTokenizer(path, 'precompiled_charsmap to be a text in base64');
  const bytes = Buffer.from(base64, 'base64');
  const trieBytes = bytes.length < 4 ? -1 : bytes.readUInt32LE(0);
  const replacements = bytes.subarray(4 + trieBytes);
  // A trie without a step has one unit of 256 bytes and more. The last replacement has its end.
  if (trieBytes < 1024 || trieBytes % 4 !== 0 || 4 + trieBytes >= bytes.length || replacements.at(-1) !== 0)
    throw invalidTokenizer(path, 'a whole precompiled_charsmap, got one that was cut off. Download it again');
  const trie = Uint32Array.from({ length: trieBytes / 4 }, (_, unit) => bytes.readUInt32LE(4 + 4 * unit));
  requireShort(path, replacements);
  return { trie, replacements };
}

/** @throws CheckpointError when a text could become much longer. */
function requireShort(path: string, replacements: Buffer): void {
  for (let start = 0; start < replacements.length; ) {
    const end = replacements.indexOf(0, start);
    if (end - start > MAX_REPLACEMENT_BYTES)
      throw invalidTokenizer(
        path,
        `precompiled_charsmap to have at most ${MAX_REPLACEMENT_BYTES} bytes in place of one`,
      );
    start = end + 1;
  }
}

/**
 * Normalizes as the tokenizers library does (tokenizers/src/normalizers/precompiled.rs): a grapheme of few bytes becomes
 * what its first characters become, and loses the others; of longer ones each character is looked up.
 */
export function charsmapNormalizer(charsmap: Charsmap): (text: string) => string {
  const plain = Array.from({ length: 128 }, (_, code) => replaced(charsmap, String.fromCharCode(code)));
  const plainText = (run: string) => run.replace(/[ -~]/g, (letter) => plain[letter.charCodeAt(0)] ?? letter);
  const isChanged = plain.some((text, code) => code >= 0x20 && code < 0x7f && text !== undefined);
  const ofRun = isChanged ? plainText : (run: string) => run;
  return (text) => {
    if (!foreign.test(text)) return ofRun(text);
    const parts: string[] = [];
    let done = 0;
    for (const { 0: run, index } of text.matchAll(plainRun)) {
      parts.push(ofGraphemes(charsmap, text.slice(done, index)), ofRun(run));
      done = index + run.length;
    }
    return [...parts, ofGraphemes(charsmap, text.slice(done))].join('');
  };
}

function ofGraphemes(charsmap: Charsmap, text: string): string {
  const parts: string[] = [];
  for (const segment of graphemesOf(text)) {
    const whole = utf8.encode(segment).length <= MAX_GRAPHEME_BYTES ? replaced(charsmap, segment) : undefined;
    if (whole !== undefined) parts.push(whole);
    else for (const character of segment) parts.push(replaced(charsmap, character) ?? character);
  }
  return parts.join('');
}

/** The text in place of the shortest beginning that the trie has. */
function replaced({ trie, replacements }: Charsmap, text: string): string | undefined {
  const start = firstValue(trie, utf8.encode(text));
  if (start === undefined || start >= replacements.length) return undefined;
  return replacements.toString('utf8', start, replacements.indexOf(0, start));
}

/** Takes a step for each byte, so that it ends whatever the trie is. */
function firstValue(trie: Uint32Array, key: Uint8Array): number | undefined {
  let node = offsetOf(trie[0] ?? 0);
  for (const byte of key) {
    if (byte === 0) return undefined;
    node ^= byte;
    const unit = trie[node];
    if (unit === undefined || labelOf(unit) !== byte) return undefined;
    node ^= offsetOf(unit);
    if (hasLeaf(unit)) return (trie[node] ?? 0) & 0x7fffffff;
  }
  return undefined;
}

function offsetOf(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6);
}

/** A unit with a value has a label that no byte is. */
function labelOf(unit: number): number {
  return (unit & 0x800000ff) >>> 0;
}

function hasLeaf(unit: number): boolean {
  return (unit & 0x100) !== 0;
}
