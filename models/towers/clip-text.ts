import type { ClipTextConfig } from '../../checkpoint/config/clip-config.ts';
import type { Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import { causalBias } from '../attention-bias.ts';
import { asRows, layerNorm, preNormLayers } from '../layers.ts';
import { child, type Module, weight } from '../module.ts';
import { clipAttention } from './clip-attention.ts';

/** Texts of a batch, padded on the right with any token: a token sees none after it, so padding changes nothing. */
export interface ClipTexts {
  /** [texts, length] */
  readonly inputIds: Value<'int64'>;
  /** [texts]: the position of the token that stands for the text. */
  readonly endPosition: Value<'int64'>;
}

/**
 * transformers' `CLIPTextTransformer` (models/clip/modeling_clip.py).
 * @returns `pooler_output` [texts, hidden]: the end token of each text.
 */
export function clipTextTower(module: Module, config: ClipTextConfig, texts: ClipTexts): Value<Real> {
  const { op } = module;
  const { hiddenSize, layerNormEpsilon } = config;
  const { inputIds, endPosition } = texts;
  const tokenCount = op.dimension(inputIds, 1);
  const positionIds = op.countTo(tokenCount);
  const embedded = embed(child(module, 'embeddings'), config, inputIds, positionIds);
  const causalBias = textBias(module, positionIds, inputIds);
  const hidden = preNormLayers(module, config, embedded, (attention, x) =>
    clipAttention(attention, { ...config, tokenCount }, x, causalBias),
  );
  // Only the last token of each text counts: [texts * length, hidden] → [texts, hidden].
  const firsts = op.mul(op.indices(inputIds, 0), tokenCount);
  const pooled = op.gather(hidden, op.add(firsts, endPosition), 0);
  return layerNorm(child(module, 'final_layer_norm'), pooled, hiddenSize, layerNormEpsilon);
}

function embed(
  module: Module,
  config: ClipTextConfig,
  inputIds: Value<'int64'>,
  positionIds: Value<'int64'>,
): Value<Real> {
  const { op } = module;
  const { hiddenSize, vocabularySize, maxPositions } = config;
  const words = weight(child(module, 'token_embedding'), 'weight', [vocabularySize, hiddenSize]);
  const positions = weight(child(module, 'position_embedding'), 'weight', [maxPositions, hiddenSize]);
  const embedded = op.add(op.gather(words, inputIds, 0), op.gather(positions, positionIds, 0));
  return asRows(module, embedded, hiddenSize);
}

/** [texts, 1, length, length]: the runtime does not repeat a bias along the texts. The lean form needs none. */
function textBias(module: Module, positionIds: Value<'int64'>, inputIds: Value<'int64'>): () => Value<Real> {
  const { op } = module;
  if (module.form === 'lean') return () => causalBias(module, { queries: positionIds, keys: positionIds });
  const textCount = op.dimension(inputIds, 0);
  const bias = op.expand(causalBias(module, { queries: positionIds, keys: positionIds }), [textCount, 1, 1, 1]);
  return () => bias;
}
