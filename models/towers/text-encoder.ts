import type { TextConfig } from '../../checkpoint/config/blip-config.ts';
import type { Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import type { Scope } from '../../onnx/scope.ts';
import {
  addPositions,
  attentionOutput,
  type CrossAttentionState,
  crossAttention,
  embedWords,
  feedForwardBlock,
  layerIndices,
  ofLayer,
} from '../language-models/bert.ts';
import { asRows } from '../layers.ts';
import { child, type Module } from '../module.ts';
import type { RowsByImage } from '../rows-by-image.ts';
import { type BidirectionalContext, bidirectionalAttention, hidePadding } from './bidirectional-attention.ts';

/** Texts of a batch, padded on the right. */
export interface EncoderInputs {
  /** [rows, length]: each [CLS], the text and [SEP]. */
  readonly inputIds: Value<'int64'>;
  /** [rows]: tokens of each row that are not padding. */
  readonly textLength: Value<'int64'>;
  /** The image that cross-attention reads, for each layer; absent where the text is read alone, as in ITC. */
  readonly image?: { readonly cross: readonly CrossAttentionState[]; readonly rowsByImage: RowsByImage };
}

/**
 * transformers' `BlipTextModel` with `is_decoder=False` (models/blip/modeling_blip_text.py): every token sees every
 * other. No token attends to padding, so a row has the hidden states that it would have alone. Those at padding are
 * arbitrary, and nothing may read them.
 * @returns the hidden states [rows * length, hidden].
 */
export function textEncoder(module: Module, config: TextConfig, inputs: EncoderInputs): Value<Real> {
  const { inputIds, image } = inputs;
  const { op } = module;
  const positionIds = op.unsqueeze(op.indices(inputIds, 1), [0]);
  const length = op.dimension(inputIds, 1);
  const padding = hidePadding(module, inputIds, inputs.textLength, length);
  const rowShape = op.shape([op.dimension(inputIds, 0), -1, config.hiddenSize]);
  let hidden = addPositions(module, config, embedWords(module, config, inputIds), positionIds);
  for (const index of layerIndices(config)) {
    const layer = child(module, `encoder.layer.${index}`);
    const attended = selfAttention(child(layer, 'attention'), config, hidden, { padding, rowShape });
    const crossed =
      image === undefined
        ? attended
        : crossAttention(
            child(layer, 'crossattention'),
            config,
            attended,
            ofLayer(image.cross, index),
            image.rowsByImage,
          );
    hidden = feedForwardBlock(layer, config, crossed);
  }
  return hidden;
}

/** The hidden states [rows, hidden] of each row's first token. */
export function firstTokens({ op }: Scope, inputs: EncoderInputs, hidden: Value<Real>, width: number): Value<Real> {
  const rowShape = op.shape([op.dimension(inputs.inputIds, 0), -1, width]);
  return op.gather(op.reshape(hidden, rowShape), 0, 1);
}

function selfAttention(module: Module, config: TextConfig, x: Value<Real>, context: BidirectionalContext): Value<Real> {
  const attention = child(module, 'self');
  const attended = bidirectionalAttention(attention, config, x, context);
  return attentionOutput(module, config, asRows(attention, attended, config.hiddenSize), x);
}
