import { describe, type JsonObject } from '../../../checkpoint/files/json-file.ts';
import { invalidTokenizer } from '../definitions/tokenizer-files.ts';
import { bpeModel } from './bpe.ts';
import type { PieceModel } from './piece-model.ts';
import { unigramModel } from './unigram.ts';
import { wordPieceModel } from './word-piece.ts';

const kinds: ReadonlyMap<unknown, (path: string, part: JsonObject) => PieceModel> = new Map([
  ['WordPiece', wordPieceModel],
  ['BPE', bpeModel],
  ['Unigram', unigramModel],
]);

/**
 * @param part the model of tokenizer.json.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`.
 */
export function createModel(path: string, part: JsonObject): PieceModel {
  const create = kinds.get(part['type']);
  if (create !== undefined) return create(path, part);
  throw invalidTokenizer(path, `a model of ${[...kinds.keys()].join(', ')}, got ${describe(part['type'])}`);
}
