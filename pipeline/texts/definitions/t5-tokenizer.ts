import { isJsonObject, type JsonObject } from '../../../checkpoint/files/json-file.ts';
import { type AddedToken, requireFew, specialToken } from './added-tokens.ts';
import { ownTokens, readSentencePiece } from './sentence-piece.ts';
import { readTokenList } from './special-tokens.ts';
import { template } from './template.ts';
import type { TokenizerDefinition } from './tokenizer-definition.ts';
import { invalidTokenizer, modelOf, type TokenizerFiles } from './tokenizer-files.ts';
import { requirePieces } from './written-tokenizer.ts';

const usualTokens = { eos_token: '</s>', unk_token: '<unk>', pad_token: '<pad>' };
const UNKNOWN_ID = 2;
const USUAL_SENTINELS = 100;
const MAX_SENTINELS = 1_000;

/** Pieces with their scores, and what else the files say. */
interface UnigramSource {
  readonly path: string;
  readonly pieces: readonly unknown[];
  /** Becomes the normalizer; in base64. */
  readonly charsmap: unknown;
  readonly own: readonly AddedToken[];
}

/**
 * Describes a `T5Tokenizer` of transformers (models/t5/tokenization_t5.py). Of tokenizer.json pieces, charsmap and added
 * tokens count. spiece.model has all but the sentinels (`<extra_id_0>`), which come behind its pieces.
 * @returns `undefined` when the folder has neither tokenizer.json nor spiece.model.
 * @throws CheckpointError `CHECKPOINT_TOKENIZER_INVALID`.
 */
export function describeT5Tokenizer(files: TokenizerFiles): TokenizerDefinition | undefined {
  const sentinels = sentinelsOf(files);
  const source = readSource(files, sentinels);
  if (source === undefined) return undefined;
  const { path, pieces, charsmap, own } = source;
  requirePieces(path, pieces);
  const added = readTokenList(files, usualTokens, { usualExtra: [...own, ...sentinels.map(specialToken)] });
  const metaspace = { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true };
  return {
    path,
    parts: {
      normalizer: charsmap === undefined ? null : { type: 'Precompiled', precompiled_charsmap: charsmap },
      pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'WhitespaceSplit' }, metaspace] },
      post_processor: template([], ['</s>']),
      decoder: metaspace,
      model: { type: 'Unigram', unk_id: UNKNOWN_ID, vocab: pieces, byte_fallback: false },
    },
    addedTokens: requireFew(added.added, files.settings.path),
    cleansSpaces: files.settings.values['clean_up_tokenization_spaces'] === true,
  };
}

/** Texts of the tokens that stand for gaps, from the first. */
function sentinelsOf({ settings }: TokenizerFiles): readonly string[] {
  const count = settings.values['extra_ids'] ?? USUAL_SENTINELS;
  if (typeof count !== 'number' || !Number.isInteger(count) || count < 0 || count > MAX_SENTINELS)
    throw invalidTokenizer(settings.path, `extra_ids to be a whole number of 0 to ${MAX_SENTINELS}`);
  return Array.from({ length: count }, (_, index) => `<extra_id_${index}>`);
}

function readSource({ folder, definition }: TokenizerFiles, sentinels: readonly string[]): UnigramSource | undefined {
  if (definition !== undefined) {
    const { path, values } = definition;
    const { vocab } = modelOf(definition);
    if (!Array.isArray(vocab)) throw invalidTokenizer(path, 'a list of pieces with their scores, as T5 has');
    return { path, pieces: vocab, charsmap: charsmapOf(values['normalizer']), own: [] };
  }
  const model = readSentencePiece(folder, 'spiece.model', 'Unigram');
  if (model === undefined) return undefined;
  const pieces = model.pieces.map(({ piece, score }) => [piece, score]);
  // The first sentinel has the last id.
  const behind = sentinels.toReversed().map((sentinel) => [sentinel, 0]);
  const charsmap = model.charsmap === '' ? undefined : model.charsmap;
  return { path: model.path, pieces: [...pieces, ...behind], charsmap, own: ownTokens(model) };
}

/** The first charsmap among the normalizers of a tokenizer.json. */
function charsmapOf(normalizer: unknown): unknown {
  if (!isJsonObject(normalizer)) return undefined;
  const inner: readonly unknown[] = Array.isArray(normalizer['normalizers']) ? normalizer['normalizers'] : [normalizer];
  const isCharsmap = (part: unknown): part is JsonObject => isJsonObject(part) && part['type'] === 'Precompiled';
  return inner.find(isCharsmap)?.['precompiled_charsmap'];
}
