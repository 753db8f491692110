import { describe, type JsonSection } from '../files/json-file.ts';
import { inconsistent, invalid } from '../files/json-section.ts';

/**
 * Rules of a checkpoint about particular tokens, under the names of transformers' `GenerationConfig`. They are part of the
 * graph: a request cannot change them.
 */
export interface TokenRules {
  /** Added to the score of the last token where the others come before it. */
  readonly sequenceBias: readonly TokenBias[];
  /** The last token cannot follow the others. */
  readonly badWordsIds: readonly (readonly number[])[];
  /** Tokens that never come. */
  readonly suppressTokens: readonly number[];
  /** Tokens that do not come first. */
  readonly beginSuppressTokens: readonly number[];
  /** The token after a prompt of one token. */
  readonly forcedBosTokenId: number | undefined;
  /** The last token that the length allows is one of them; empty: any token. */
  readonly forcedEosTokenIds: readonly number[];
}

export interface TokenBias {
  readonly tokenIds: readonly number[];
  readonly bias: number;
}

export const noTokenRules: TokenRules = {
  sequenceBias: [],
  badWordsIds: [],
  suppressTokens: [],
  beginSuppressTokens: [],
  forcedBosTokenId: undefined,
  forcedEosTokenIds: [],
};

/** The keys that this file reads. */
export const tokenRuleKeys: readonly string[] = [
  'sequence_bias',
  'bad_words_ids',
  'suppress_tokens',
  'begin_suppress_tokens',
  'forced_bos_token_id',
  'forced_eos_token_id',
];

/** Each step of generation compares so many tokens, for each sequence. */
const MAX_TOKENS_IN_SEQUENCES = 10_000;
const MAX_SEQUENCE_LENGTH = 32;
const MAX_BIAS = 1e6;

/** The vocabulary that rules speak of. */
interface Vocabulary {
  readonly vocabularySize: number;
  /** It ends a text, and is no bad word. */
  readonly endTokenId: number;
}

/**
 * Reads the rules of a section. `null` and empty lists count as absent, and -1 in a list of tokens too, as older versions
 * of transformers wrote it.
 * @throws CheckpointError `CHECKPOINT_CONFIG_INVALID`.
 */
export function readTokenRules(section: JsonSection, vocabulary: Vocabulary): Partial<TokenRules> {
  const bias = readSequenceBias(section, vocabulary);
  const words = readSequences(section, 'bad_words_ids', vocabulary);
  const suppress = readTokens(section, 'suppress_tokens', vocabulary);
  const begin = readTokens(section, 'begin_suppress_tokens', vocabulary);
  const [bos] = readTokens(section, 'forced_bos_token_id', vocabulary);
  const eos = readTokens(section, 'forced_eos_token_id', vocabulary);
  if (new Set(suppress).size >= vocabulary.vocabularySize - 1)
    throw inconsistent(section, 'suppress_tokens to leave two tokens', suppress.length);
  return {
    ...(bias.length > 0 && { sequenceBias: bias }),
    ...(words.length > 0 && { badWordsIds: words.filter((word) => !isEndAlone(word, vocabulary)) }),
    ...(suppress.length > 0 && { suppressTokens: suppress }),
    ...(begin.length > 0 && { beginSuppressTokens: begin }),
    ...(bos !== undefined && { forcedBosTokenId: bos }),
    ...(eos.length > 0 && { forcedEosTokenIds: eos }),
  };
}

/** `NoBadWordsLogitsProcessor` ignores the end token as a word. */
function isEndAlone(word: readonly number[], { endTokenId }: Vocabulary): boolean {
  return word.length === 1 && word[0] === endTokenId;
}

/** One token or a list of them. */
function readTokens(section: JsonSection, key: string, vocabulary: Vocabulary): readonly number[] {
  const value = section.values[key] ?? [];
  const tokens = (Array.isArray(value) ? value : [value]).filter((token) => token !== -1);
  if (tokens.length > vocabulary.vocabularySize)
    throw invalid(section, key, `at most ${vocabulary.vocabularySize} tokens`, value);
  return tokens.map((token) => readToken(section, key, token, vocabulary));
}

function readToken(section: JsonSection, key: string, token: unknown, { vocabularySize }: Vocabulary): number {
  if (typeof token === 'number' && Number.isSafeInteger(token) && token >= 0 && token < vocabularySize) return token;
  throw invalid(section, key, `token ids below vocab_size ${vocabularySize}`, token);
}

function readSequences(section: JsonSection, key: string, vocabulary: Vocabulary): readonly (readonly number[])[] {
  const value = section.values[key] ?? [];
  if (!Array.isArray(value)) throw invalid(section, key, 'a list of lists of token ids', value);
  const sequences = value.map((sequence) => readSequence(section, key, sequence, vocabulary));
  requireFew(section, key, sequences);
  return sequences;
}

function readSequence(section: JsonSection, key: string, sequence: unknown, vocabulary: Vocabulary): readonly number[] {
  if (!Array.isArray(sequence) || sequence.length === 0 || sequence.length > MAX_SEQUENCE_LENGTH)
    throw invalid(section, key, `lists of 1 to ${MAX_SEQUENCE_LENGTH} token ids`, sequence);
  return sequence.map((token) => readToken(section, key, token, vocabulary));
}

function requireFew(section: JsonSection, key: string, sequences: readonly (readonly number[])[]): void {
  const count = sequences.reduce((total, { length }) => total + length, 0);
  if (count > MAX_TOKENS_IN_SEQUENCES)
    throw inconsistent(section, `at most ${MAX_TOKENS_IN_SEQUENCES} token ids in ${key}`, count);
}

/** Pairs of token ids and a number. Of two pairs with the same tokens the last holds, as in transformers. */
function readSequenceBias(section: JsonSection, vocabulary: Vocabulary): readonly TokenBias[] {
  const key = 'sequence_bias';
  const value = section.values[key] ?? [];
  if (!Array.isArray(value)) throw invalid(section, key, 'a list of pairs of token ids and a bias', value);
  const pairs = value.map((pair): TokenBias => {
    const [tokens, bias]: readonly unknown[] = Array.isArray(pair) && pair.length === 2 ? pair : [];
    const tokenIds = readSequence(section, key, tokens, vocabulary);
    if (typeof bias === 'number' && Math.abs(bias) <= MAX_BIAS) return { tokenIds, bias };
    throw invalid(section, key, `pairs with a bias of at most ${MAX_BIAS}`, describe(bias));
  });
  const last = new Map(pairs.map((pair) => [pair.tokenIds.join(), pair]));
  const sequences = [...last.values()];
  requireFew(
    section,
    key,
    sequences.map(({ tokenIds }) => tokenIds),
  );
  return sequences;
}
