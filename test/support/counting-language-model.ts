import type { LanguageModel } from '../../models/generation/language-model.ts';
import type { Value } from '../../onnx/graph.ts';
import type { Scope } from '../../onnx/scope.ts';

/** A language model that counts: the next token is the number of tokens that it reads in a step, of all sequences together. */

const VOCABULARY_SIZE = 100;
/** No step reads as many. */
const NEVER = 99;

interface Length {
  /** [sequences, 1] */
  readonly length: Value<'int64'>;
}

export function countingModel(): LanguageModel<Length> {
  return {
    embed: ({ op }, tokenIds) => op.unsqueeze(op.cast(tokenIds, 'float32'), [2]),
    emptyCache: ({ op }, count) => ({ length: op.fill('int64', 0, [count, 1]) }),
    cacheLength: ({ op }, { length }) => op.reshape(op.gather(length, [0], 0), [1]),
    select: ({ op }, { length }, sequences) => ({ length: op.gather(length, sequences, 0) }),
    decode(scope, { embeddings, cache }) {
      const length = scope.op.add(cache.length, scope.op.dimension(embeddings, 1));
      return { logits: certainOf(scope, embeddings), cache: { length } };
    },
    endTokenIds: [NEVER],
    padTokenId: NEVER,
  };
}

/** [sequences, vocabulary]: far from the count, tokens are improbable. */
function certainOf({ op }: Scope, embeddings: Value): Value<'float32'> {
  const sequenceCount = op.dimension(embeddings, 0);
  const count = op.mul(sequenceCount, op.dimension(embeddings, 1));
  const tokens = op.countTo(op.constant('int64', [VOCABULARY_SIZE]));
  const distance = op.max(op.sub(tokens, count), op.sub(count, tokens));
  const logits = op.mul(op.cast(distance, 'float32'), -10);
  return op.expand(op.unsqueeze(logits, [0]), [sequenceCount, VOCABULARY_SIZE]);
}
