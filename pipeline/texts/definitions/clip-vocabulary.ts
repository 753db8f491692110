import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { shippedFile } from '../../../shipped-files.ts';
import { type MergesSource, mergesOf } from './bpe-files.ts';

/** Printable bytes stand for themselves; each other one is the next letter from here. */
const FIRST_OTHER_LETTER = 0x100;
const printable: readonly (readonly [from: number, to: number])[] = [
  [0x21, 0x7e],
  [0xa1, 0xac],
  [0xae, 0xff],
];

/**
 * CLIP's vocabulary, which ships with this package, for open_clip's files: its own tokenizer ships with it too.
 * @param endOfWord ends the last piece of a word.
 * @param special the tokens behind all others.
 * @throws CheckpointError when the installation lacks the file.
 */
export function readClipVocabulary(endOfWord: string, special: readonly string[]): MergesSource {
  const path = shippedFile('pipeline/texts/clip-vocabulary/merges.txt.gz');
  const merges = mergesOf(path, gunzipSync(readFileSync(path)).toString('utf8'));
  const letters = byteLetters();
  const tokens = [
    ...letters,
    ...letters.map((letter) => letter + endOfWord),
    ...merges.map((pair) => pair.join('')),
    ...special,
  ];
  return { path, vocabulary: Object.fromEntries(tokens.map((token, id) => [token, id])), merges };
}

/** The letter of each byte, in the order of CLIP's ids: those that stand for themselves, and then the others. */
function byteLetters(): readonly string[] {
  const themselves = printable.flatMap(([from, to]) =>
    Array.from({ length: to - from + 1 }, (_, index) => from + index),
  );
  const others = Array.from({ length: 256 - themselves.length }, (_, index) => FIRST_OTHER_LETTER + index);
  return [...themselves, ...others].map((code) => String.fromCharCode(code));
}
