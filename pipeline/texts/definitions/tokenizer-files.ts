import { join } from 'node:path';
import { CheckpointError } from '../../../checkpoint/errors.ts';
import { isJsonObject, type JsonObject, type JsonSection, readJsonFile } from '../../../checkpoint/files/json-file.ts';
import { readSmallBinaryFile } from '../../../checkpoint/files/small-binary-file.ts';
import { readTextFile } from '../../../checkpoint/files/text-file.ts';

const CODE = 'CHECKPOINT_TOKENIZER_INVALID';

/** The files of a checkpoint that its tokenizer is made from. Vocabularies beside tokenizer.json are read when asked for. */
export interface TokenizerFiles {
  readonly folder: string;
  /** tokenizer.json */
  readonly definition: JsonSection | undefined;
  /** tokenizer_config.json, or nothing in it. */
  readonly settings: JsonSection;
}

/** @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID` or `CHECKPOINT_FILE_UNREADABLE`. */
export function readTokenizerFiles(folder: string): TokenizerFiles {
  return {
    folder,
    definition: readJson(folder, 'tokenizer.json'),
    settings: readJson(folder, 'tokenizer_config.json') ?? { path: join(folder, 'tokenizer_config.json'), values: {} },
  };
}

export function readJson(folder: string, name: string): JsonSection | undefined {
  return readJsonFile(join(folder, name), CODE);
}

export function readBinary(folder: string, name: string, expected: string): Buffer | undefined {
  return readSmallBinaryFile(join(folder, name), CODE, expected);
}

export function readText(folder: string, name: string): string | undefined {
  return readTextFile(join(folder, name), CODE);
}

/**
 * Token ids by their tokens. The ids are checked when the tokenizer is made, so that tens of thousands of tokens are gone
 * through once.
 * @throws CheckpointError when it is no object.
 */
export function requireVocabulary(path: string, vocabulary: unknown): JsonObject {
  if (isJsonObject(vocabulary)) return vocabulary;
  throw invalidTokenizer(path, 'a vocabulary of tokens and their ids');
}

/** Ids are positions in tables, which must not be enormous. */
const MAX_TOKEN_ID = 4_000_000;

/** @throws CheckpointError when one of the ids is none. */
export function requireTokenIds(path: string, ids: Iterable<unknown>): void {
  for (const id of ids) {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id > MAX_TOKEN_ID)
      throw invalidTokenizer(path, `whole numbers of 0 to ${MAX_TOKEN_ID} as token ids, got another one`);
  }
}

/** The model of a tokenizer.json: how it divides words into tokens. Old files do not name its type. */
export function modelOf({ path, values }: JsonSection): JsonObject {
  const { model } = values;
  if (!isJsonObject(model)) throw invalidTokenizer(path, 'a model, got none');
  const type = model['type'] ?? unnamedType(model);
  return type === undefined ? model : { ...model, type };
}

function unnamedType({ vocab, merges, continuing_subword_prefix }: JsonObject): string | undefined {
  if (Array.isArray(vocab)) return 'Unigram';
  if (Array.isArray(merges)) return 'BPE';
  return continuing_subword_prefix === undefined ? undefined : 'WordPiece';
}

/** The error of a tokenizer's file that cannot be used. */
export function invalidTokenizer(path: string, expected: string, options?: ErrorOptions): CheckpointError {
  return new CheckpointError(CODE, `${path}: expected ${expected}.`, options);
}
