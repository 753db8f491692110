import { describe, type JsonObject } from '../../../checkpoint/files/json-file.ts';
import { invalidTokenizer, requireTokenIds, requireVocabulary } from '../definitions/tokenizer-files.ts';
import { MergeQueue } from './merge-queue.ts';
import { byteTokens, idsOfBytes, type PieceModel } from './piece-model.ts';

/** The merges of two tokens. */
interface Merges {
  /** Ranks by the first token's id times `idCount` plus the second's. */
  readonly ranks: ReadonlyMap<number, number>;
  /** By rank, the id of the token that a merge makes. */
  readonly made: Int32Array;
  readonly idCount: number;
}

/** How the characters of a word become tokens. */
interface Letters {
  readonly tokenIds: ReadonlyMap<string, number>;
  readonly unknownId: number | undefined;
  readonly fusesUnknown: boolean;
  readonly byteIds: readonly (number | undefined)[];
  /** Before every character but the first. */
  readonly prefix: string;
  /** Behind the last character. */
  readonly suffix: string;
}

/**
 * Byte pair encoding as the tokenizers library does it (tokenizers/src/models/bpe/word.rs, `merge_all`), in time that
 * grows with a word's length times its logarithm. LLaMA's words are whole texts.
 * @param part the model of tokenizer.json: `vocab`, `merges` and its flags.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`.
 */
export function bpeModel(path: string, part: JsonObject): PieceModel {
  const tokenIds = readIds(path, part['vocab']);
  const letters = readLetters(path, part, tokenIds);
  const merges = readMerges(path, part['merges'], tokenIds, letters.prefix);
  const keepsWhole = part['ignore_merges'] === true;
  return {
    tokenIds,
    tokens: tokensById(tokenIds),
    unknownId: letters.unknownId,
    encode(piece) {
      const whole = keepsWhole ? tokenIds.get(piece) : undefined;
      return whole === undefined ? mergeAll(lettersOf(piece, letters), merges) : [whole];
    },
  };
}

function readIds(path: string, vocabulary: unknown): ReadonlyMap<string, number> {
  const entries = Object.entries(requireVocabulary(path, vocabulary));
  requireTokenIds(
    path,
    entries.map(([, id]) => id),
  );
  return new Map(entries.map(([token, id]) => [token, Number(id)]));
}

function tokensById(tokenIds: ReadonlyMap<string, number>): readonly (string | undefined)[] {
  const tokens: (string | undefined)[] = [];
  for (const [token, id] of tokenIds) tokens[id] = token;
  return tokens;
}

function readLetters(path: string, part: JsonObject, tokenIds: ReadonlyMap<string, number>): Letters {
  const text = (key: string) => {
    const value = part[key] ?? '';
    if (typeof value === 'string') return value;
    throw invalidTokenizer(path, `${key} to be a text`);
  };
  return {
    tokenIds,
    unknownId: tokenIds.get(text('unk_token')),
    fusesUnknown: part['fuse_unk'] === true,
    byteIds: part['byte_fallback'] === true ? byteTokens().map((token) => tokenIds.get(token)) : [],
    prefix: text('continuing_subword_prefix'),
    suffix: text('end_of_word_suffix'),
  };
}

function readMerges(path: string, list: unknown, tokenIds: ReadonlyMap<string, number>, prefix: string): Merges {
  if (list !== undefined && !Array.isArray(list))
    throw invalidTokenizer(path, `a list of merges, got ${describe(list)}`);
  const entries: readonly unknown[] = list ?? [];
  const idCount = [...tokenIds.values()].reduce((count, id) => Math.max(count, id + 1), 0);
  const ranks = new Map<number, number>();
  const made = new Int32Array(entries.length);
  for (const [rank, entry] of entries.entries()) {
    const [first, second] = pairOf(path, entry);
    const ids = [first, second, first + second.slice(prefix.length)].map((token) => tokenIds.get(token));
    const [left, right, merged] = ids;
    if (left === undefined || right === undefined || merged === undefined)
      throw invalidTokenizer(path, `merges of tokens that make tokens, got ${describe(`${first} ${second}`)}`);
    ranks.set(left * idCount + right, rank);
    made[rank] = merged;
  }
  return { ranks, made, idCount };
}

/** Newer files have lists of two tokens, older ones texts with a space between them. */
function pairOf(path: string, entry: unknown): readonly [string, string] {
  const parts: readonly unknown[] = typeof entry === 'string' ? entry.split(' ') : Array.isArray(entry) ? entry : [];
  const [first, second] = parts;
  if (parts.length === 2 && typeof first === 'string' && typeof second === 'string') return [first, second];
  throw invalidTokenizer(path, `merges of two tokens each, got ${describe(entry)}`);
}

/** The ids of single characters. Unknown ones beside each other may become one. */
function lettersOf(piece: string, letters: Letters): number[] {
  const { tokenIds, unknownId, byteIds, prefix, suffix } = letters;
  const ids: number[] = [];
  let isUnknown = false;
  for (let start = 0; start < piece.length; ) {
    const end = start + ((piece.codePointAt(start) ?? 0) > 0xffff ? 2 : 1);
    const letter = (start > 0 ? prefix : '') + piece.slice(start, end) + (end === piece.length ? suffix : '');
    start = end;
    const id = tokenIds.get(letter);
    const bytes = id === undefined && byteIds.length > 0 ? idsOfBytes(letter, byteIds) : undefined;
    const repeats = isUnknown && letters.fusesUnknown;
    isUnknown = id === undefined && bytes === undefined;
    if (id !== undefined) ids.push(id);
    else if (bytes !== undefined) ids.push(...bytes);
    else if (unknownId !== undefined && !repeats) ids.push(unknownId);
  }
  return ids;
}

/** Merges the neighbours of the lowest rank until there are none. */
function mergeAll(ids: readonly number[], merges: Merges): readonly number[] {
  if (ids.length < 2) return ids;
  const word = new MergedWord(ids, merges);
  word.merge();
  return word.ids();
}

const NONE = -1;

class MergedWord {
  /** The token at each position; -1: it was merged into one before it. */
  readonly #ids: Int32Array;
  readonly #before: Int32Array;
  readonly #behind: Int32Array;
  readonly #merges: Merges;
  readonly #queue = new MergeQueue();

  constructor(ids: readonly number[], merges: Merges) {
    this.#ids = Int32Array.from(ids);
    this.#before = Int32Array.from(ids, (_, position) => position - 1);
    this.#behind = Int32Array.from(ids, (_, position) => (position + 1 < ids.length ? position + 1 : NONE));
    this.#merges = merges;
    for (let position = 0; position + 1 < ids.length; position += 1) this.#offer(position);
  }

  merge(): void {
    for (let next = this.#queue.pop(); next !== undefined; next = this.#queue.pop()) {
      const { made } = this.#merges;
      const rank = this.#rankAt(next.position);
      // The pair may have changed since. Another pair that makes the same token is as good, as in the library.
      if (rank !== undefined && made[rank] === made[next.rank]) this.#join(next.position, made[rank] ?? NONE);
    }
  }

  ids(): readonly number[] {
    return Array.from(this.#ids).filter((id) => id !== NONE);
  }

  #rankAt(position: number): number | undefined {
    const behind = this.#behind[position] ?? NONE;
    const left = this.#ids[position] ?? NONE;
    if (left === NONE || behind === NONE) return undefined;
    return this.#merges.ranks.get(left * this.#merges.idCount + (this.#ids[behind] ?? NONE));
  }

  #offer(position: number): void {
    const rank = position === NONE ? undefined : this.#rankAt(position);
    if (rank !== undefined) this.#queue.push(rank, position);
  }

  #join(position: number, id: number): void {
    const gone = this.#behind[position] ?? NONE;
    const behind = this.#behind[gone] ?? NONE;
    this.#ids[position] = id;
    this.#ids[gone] = NONE;
    this.#behind[position] = behind;
    if (behind !== NONE) this.#before[behind] = position;
    this.#offer(this.#before[position] ?? NONE);
    this.#offer(position);
  }
}
