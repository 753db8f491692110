import type { Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import type { Scope } from '../../onnx/scope.ts';
import type { Prompt } from '../generation/language-model.ts';
import type { GenerationParameters } from '../generation/parameters.ts';

/** The padding before prompts, prepared for all steps of greedy search, so that none has to compute it. */
export interface PreparedPadding {
  /** [rows, positions, hidden]: the embeddings of positions, which count from each row's first token. */
  readonly positions: Value<Real>;
  /** [2 * rows]: for the operator Attention, where the keys of each row end, after all steps, and where they begin. */
  readonly mask: Value<'int32'>;
}

/** @param embeddings writes those of positions, [positions, hidden]. */
export function preparePadding(
  { op }: Scope,
  embeddings: () => Value<Real>,
  { inputIds, paddingLength }: Extract<Prompt, { readonly inputIds: Value<'int64'> }>,
  { maxNewTokens }: GenerationParameters,
): PreparedPadding {
  // The last new token is not read.
  const length = op.sub(op.add(op.dimension(inputIds, 1), op.reduceMax(maxNewTokens, 0, true)), [1]);
  const fromFirstToken = op.sub(op.unsqueeze(op.countTo(length), [0]), op.unsqueeze(paddingLength, [1]));
  const ends = op.expand(length, [op.dimension(paddingLength, 0)]);
  return {
    positions: op.gather(embeddings(), op.max(fromFirstToken, [0]), 0),
    mask: op.cast(op.concat([ends, paddingLength], 0), 'int32'),
  };
}
