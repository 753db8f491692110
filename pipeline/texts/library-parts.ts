import { Tokenizer } from '@huggingface/tokenizers';
import type { JsonObject } from '../../checkpoint/files/json-file.ts';

/** Parts of tokenizer.json that @huggingface/tokenizers should make. */
interface WantedParts {
  readonly normalizer?: JsonObject | null;
  readonly pre_tokenizer?: JsonObject | null;
  readonly post_processor?: JsonObject | null;
  readonly decoder?: JsonObject | null;
  readonly model?: JsonObject;
}

const nothing = {
  normalizer: null,
  pre_tokenizer: null,
  post_processor: null,
  decoder: null,
  added_tokens: [],
  model: { type: 'WordPiece', vocab: {}, unk_token: '' },
};

/** @throws Error when the library knows no such part. */
export function libraryParts(parts: WantedParts): Tokenizer {
  return new Tokenizer({ ...nothing, ...parts }, {});
}
