import { join } from 'node:path';
import { describe, type JsonObject } from '../../../checkpoint/files/json-file.ts';
import type { TokenSource } from './special-tokens.ts';
import {
  invalidTokenizer,
  modelOf,
  readJson,
  readText,
  requireVocabulary,
  type TokenizerFiles,
} from './tokenizer-files.ts';

const CUT_OFF = 'it may have been cut off. Download it again';

/** The vocabulary of byte pair encoding, and its merges. */
export interface MergesSource extends TokenSource {
  readonly merges: unknown;
}

/**
 * Reads vocabulary and merges from tokenizer.json, or from vocab.json and merges.txt.
 * @param endOfWord ends the last piece of a word; empty: nothing does.
 * @returns `undefined` when the folder has neither.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`.
 */
export function readMergesSource({ folder, definition }: TokenizerFiles, endOfWord: string): MergesSource | undefined {
  if (definition !== undefined) {
    const { path } = definition;
    const { vocab, merges = [] } = modelOf(definition);
    return { path, vocabulary: requireVocabulary(path, vocab), merges };
  }
  const vocabulary = readJson(folder, 'vocab.json');
  const merges = readText(folder, 'merges.txt');
  if (vocabulary === undefined || merges === undefined) return undefined;
  const { path, values } = vocabulary;
  const mergesPath = join(folder, 'merges.txt');
  const pairs = mergesOf(mergesPath, merges);
  requireWhole(mergesPath, pairs, requireVocabulary(path, values), endOfWord);
  return { path, vocabulary: values, merges: pairs };
}

/**
 * Merges that were cut off would divide words otherwise, without a word. The tokenizers library refuses merges that make
 * no token; the end of half a line is one. Nearly all tokens of several letters are made by merges.
 */
function requireWhole(
  path: string,
  merges: readonly (readonly string[])[],
  vocabulary: JsonObject,
  endOfWord: string,
): void {
  const made = new Set(merges.map((pair) => pair.join('')));
  const foreign = [...made].find((token) => !Object.hasOwn(vocabulary, token));
  if (foreign !== undefined)
    throw invalidTokenizer(path, `merges that make tokens of vocab.json, got ${describe(foreign)}: ${CUT_OFF}`);
  const long = Object.keys(vocabulary).filter((token) => token.replace(endOfWord, '').length > 1);
  if (made.size >= long.length / 2) return;
  throw invalidTokenizer(path, `merges for the ${long.length} long tokens of vocab.json, got ${made.size}: ${CUT_OFF}`);
}

/** One pair a line, after a line that names the version. */
export function mergesOf(path: string, text: string): readonly (readonly string[])[] {
  const lines = text.split(/\r?\n/).filter((line) => line !== '' && !line.startsWith('#version'));
  return lines.map((line) => {
    const pair = line.split(' ');
    if (pair.length === 2 && pair[1] !== '') return pair;
    throw invalidTokenizer(path, `two pieces a line, got ${pair.length}: ${CUT_OFF}`);
  });
}
