import type { JsonObject } from '../../../checkpoint/files/json-file.ts';
import { invalidTokenizer } from '../definitions/tokenizer-files.ts';
import { byteTokens, idsOfBytes, type PieceModel } from './piece-model.ts';
import { PieceTrie } from './piece-trie.ts';

/** How much worse than the worst piece an unknown character is. */
const UNKNOWN_PENALTY = 10;
/** The largest published vocabularies, of 256,000 pieces, have half as many. Each may take 50 bytes of memory. */
const MAX_LETTERS = 1 << 22;

interface Scored {
  readonly trie: PieceTrie;
  readonly scores: Float64Array;
  readonly unknownId: number;
  readonly unknownScore: number;
}

/**
 * SentencePiece's Unigram as the tokenizers library computes it (tokenizers/src/models/unigram/model.rs,
 * `encode_optimized`): the pieces with the largest sum of scores. Time grows with the text's length times that of the
 * longest piece. The JavaScript library compares every two pieces that meet, which is the square of that.
 * @param part the model of tokenizer.json: `vocab` of pieces with their scores, `unk_id`, `byte_fallback`.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`.
 */
export function unigramModel(path: string, part: JsonObject): PieceModel {
  const entries = readPieces(path, part['vocab']);
  const unknownId = part['unk_id'];
  if (typeof unknownId !== 'number' || entries[unknownId] === undefined)
    throw invalidTokenizer(path, 'unk_id to be the position of a piece');
  const tokens = entries.map(([piece]) => piece);
  const letterCount = tokens.reduce((count, piece) => count + piece.length, 0);
  if (letterCount > MAX_LETTERS) throw invalidTokenizer(path, `pieces of at most ${MAX_LETTERS} letters together`);
  const scores = Float64Array.from(entries, ([, score]) => score);
  const worst = scores.reduce((lowest, score) => Math.min(lowest, score), Number.POSITIVE_INFINITY);
  const scored = { trie: new PieceTrie(tokens), scores, unknownId, unknownScore: worst - UNKNOWN_PENALTY };
  const tokenIds = new Map(tokens.map((piece, id) => [piece, id]));
  const byteIds = part['byte_fallback'] === true ? byteTokens().map((token) => tokenIds.get(token)) : [];
  const idsOf = (piece: string) => {
    const id = tokenIds.get(piece);
    if (id !== undefined) return [id];
    return (byteIds.length > 0 ? idsOfBytes(piece, byteIds) : undefined) ?? [unknownId];
  };
  return { tokenIds, tokens, unknownId, encode: (text) => bestPieces(text, scored).flatMap(idsOf) };
}

function readPieces(path: string, vocabulary: unknown): readonly (readonly [piece: string, score: number])[] {
  const entries: readonly unknown[] = Array.isArray(vocabulary) ? vocabulary : [];
  if (entries.length === 0) throw invalidTokenizer(path, 'a vocabulary of pieces with their scores, got none');
  return entries.map((entry) => {
    const [piece, score]: readonly unknown[] = Array.isArray(entry) ? entry : [];
    if (typeof piece === 'string' && typeof score === 'number') return [piece, score];
    throw invalidTokenizer(path, 'pieces with their scores, got something else');
  });
}

/** For each place in a text, the best way to it. */
interface Paths {
  readonly scores: Float64Array;
  /** Where the last piece begins; -1: nothing leads here. */
  readonly starts: Int32Array;
  readonly ids: Int32Array;
}

function bestPieces(text: string, scored: Scored): readonly string[] {
  const length = text.length + 1;
  const paths = {
    scores: new Float64Array(length),
    starts: new Int32Array(length).fill(-1),
    ids: new Int32Array(length),
  };
  for (let start = 0; start < text.length; ) start = extendPaths(text, start, scored, paths);
  return piecesOf(text, paths, scored.unknownId);
}

/** @returns the next character's place. */
function extendPaths(text: string, start: number, scored: Scored, paths: Paths): number {
  const { trie, scores, unknownId, unknownScore } = scored;
  const before = paths.scores[start] ?? 0;
  const next = start + ((text.codePointAt(start) ?? 0) > 0xffff ? 2 : 1);
  let isKnown = false;
  let node = 0;
  for (let end = start; end < text.length; ) {
    node = trie.next(node, text.charCodeAt(end));
    if (node < 0) break;
    end += 1;
    const id = trie.idAt(node);
    if (id < 0) continue;
    if (end === next) isKnown = true;
    offer(paths, start, end, id, before + (scores[id] ?? 0));
  }
  if (!isKnown) offer(paths, start, next, unknownId, before + unknownScore);
  return next;
}

/** Of equally good ways the first stays, which has the longer last piece. */
function offer({ scores, starts, ids }: Paths, start: number, end: number, id: number, score: number): void {
  if (starts[end] !== -1 && score <= (scores[end] ?? 0)) return;
  scores[end] = score;
  starts[end] = start;
  ids[end] = id;
}

/** Unknown characters beside each other become one piece. */
function piecesOf(text: string, { starts, ids }: Paths, unknownId: number): readonly string[] {
  const pieces: string[] = [];
  let unknownEnd = -1;
  for (let end = text.length; end > 0; ) {
    const start = starts[end] ?? 0;
    const isUnknown = ids[end] === unknownId;
    if (isUnknown && unknownEnd === -1) unknownEnd = end;
    if (!isUnknown && unknownEnd !== -1) {
      pieces.push(text.slice(end, unknownEnd));
      unknownEnd = -1;
    }
    if (!isUnknown) pieces.push(text.slice(start, end));
    end = start;
  }
  if (unknownEnd !== -1) pieces.push(text.slice(0, unknownEnd));
  return pieces.reverse();
}
