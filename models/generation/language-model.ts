import type { Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import type { Scope } from '../../onnx/scope.ts';

/**
 * The interface of language models to generation, whether they are a decoder alone or read an encoder's states too.
 * They read embeddings, so that a prompt may be token ids or anything else that has their width, such as an image.
 * `Cache` is any structure of values.
 */
export interface LanguageModel<Cache extends object> {
  /** [sequences, tokens] → [sequences, tokens, width]: the embeddings that `decode` reads. */
  readonly embed: (scope: Scope, tokenIds: Value<'int64'>) => Value<Real>;
  /** A cache that holds nothing yet. `sequenceCount` is 1-D of one element. */
  readonly emptyCache: (scope: Scope, sequenceCount: Value<'int64'>) => Cache;
  /** How many tokens a cache holds, padding included: [1]. */
  readonly cacheLength: (scope: Scope, cache: Cache) => Value<'int64'>;
  /** The cache of these sequences, [sequences], in their order; one may be there several times. */
  readonly select: (scope: Scope, cache: Cache, sequences: Value<'int64'>) => Cache;
  /** One step: reads new tokens, and appends them to the cache. */
  readonly decode: (scope: Scope, step: DecodeStep<Cache>) => DecodeResult<Cache>;
  /** Any of them ends a sequence. */
  readonly endTokenIds: readonly [number, ...number[]];
  readonly padTokenId: number;
}

export interface DecodeStep<Cache extends object> {
  /** [sequences, tokens, width] */
  readonly embeddings: Value<Real>;
  /** [sequences]: how many of all positions so far are padding, before the first token of each sequence. */
  readonly paddingLength: Value<'int64'>;
  readonly cache: Cache;
}

export interface DecodeResult<Cache extends object> {
  /** [sequences, vocabulary], of the last of the new tokens. */
  readonly logits: Value<'float32'>;
  readonly cache: Cache;
}

/**
 * The beginning that the model reads before it writes: token ids [rows, length] or embeddings [rows, length, width].
 * Shorter rows are padded on the left. Where both are given, the model reads the embeddings, and answers begin with the
 * token ids.
 */
export type Prompt = {
  /** [rows] */
  readonly paddingLength: Value<'int64'>;
} & (
  | { readonly inputIds: Value<'int64'>; readonly embeddings?: Value<Real> }
  | { readonly inputIds?: undefined; readonly embeddings: Value<Real> }
);

/** Whether each token ends a sequence. The result has the shape of `tokenIds`. */
export function isEndToken(
  { op }: Scope,
  tokenIds: Value<'int64'>,
  endTokenIds: readonly [number, ...number[]],
): Value<'bool'> {
  const [first, ...others] = endTokenIds;
  return others.reduce((any, id) => op.or(any, op.equal(tokenIds, id)), op.equal(tokenIds, first));
}
