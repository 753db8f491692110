import { t5Embeddings } from '../weights/int8-format.ts';

/** Tensors that old files have and no model reads. */
const unread: readonly RegExp[] = [
  /\.position_ids$/,
  /\.rotary_emb\.inv_freq$/,
  /\.EncDecAttention\.relative_attention_bias\.weight$/,
];

/**
 * Whether a new checkpoint of a language model behind a Q-Former needs no such tensor: it is read by nothing, or is another
 * copy of T5's embeddings, of which the first is read.
 */
export function isUnused(tensors: { readonly has: (name: string) => boolean }, name: string): boolean {
  if (!/^(?:language_model|qformer)\./.test(name)) return false;
  if (unread.some((pattern) => pattern.test(name))) return true;
  const copy = t5Embeddings.indexOf(name);
  return t5Embeddings.slice(0, Math.max(copy, 0)).some((embedding) => tensors.has(embedding));
}
