import type { JsonObject } from '../../../checkpoint/files/json-file.ts';
import { invalidTokenizer, requireTokenIds, requireVocabulary } from '../definitions/tokenizer-files.ts';
import { libraryParts } from '../library-parts.ts';
import type { PieceModel } from './piece-model.ts';

/**
 * BERT's WordPiece, as the library has it.
 * @param part the model of tokenizer.json.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`.
 */
export function wordPieceModel(path: string, part: JsonObject): PieceModel {
  requireTokenIds(path, Object.values(requireVocabulary(path, part['vocab'])));
  const { model } = libraryParts({ model: part });
  if (model === null) throw invalidTokenizer(path, 'a model, got none');
  const { tokens_to_ids: tokenIds, vocab: tokens, unk_token_id: unknownId } = model;
  return {
    tokenIds,
    tokens,
    unknownId,
    encode(piece) {
      const found: readonly string[] = model([piece]);
      return found.map((token) => tokenIds.get(token) ?? unknownId).filter((id) => id !== undefined);
    },
  };
}
