import type { TextConfig } from '../../checkpoint/config/blip-config.ts';
import type { LanguageModel } from '../generation/language-model.ts';
import { type Module, within } from '../module.ts';
import type { RowsByImage } from '../rows-by-image.ts';
import { type CrossAttentionState, ofLayer } from './bert.ts';
import type { PreparedPadding } from './prepared-padding.ts';
import { cacheLength, cacheOf, emptyCache, type LayerCache } from './self-attention.ts';
import { embedText, textDecoder } from './text-decoder.ts';

/**
 * BLIP's text decoder as a language model: BERT with cross-attention, which looks at an image or at an encoded question.
 * @param decoder the module `text_decoder`.
 * @param context the keys and values that every step looks at, and which rows look at which of them; and the padding, where
 * it was prepared for all steps.
 */
export function bertLanguageModel(
  decoder: Module,
  config: TextConfig,
  context: {
    readonly cross: readonly CrossAttentionState[];
    readonly rowsByImage: RowsByImage;
    readonly padding?: PreparedPadding;
  },
): LanguageModel<readonly LayerCache[]> {
  return {
    embed: (scope, tokenIds) => embedText(within(decoder, scope), config, tokenIds),
    emptyCache: (scope, sequenceCount) => emptyCache(scope, decoder, config, sequenceCount),
    cacheLength: (scope, cache) => cacheLength(scope, ofLayer(cache, 0)),
    select: cacheOf,
    decode(scope, { embeddings, paddingLength, cache }) {
      const inputs = { embeddings, paddingLength, past: cache, ...context };
      const { logits, present } = textDecoder(within(decoder, scope), config, inputs);
      return { logits, cache: present };
    },
    endTokenIds: [config.sepTokenId],
    padTokenId: config.padTokenId,
  };
}
