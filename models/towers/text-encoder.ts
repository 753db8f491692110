import type { TextConfig } from '../../checkpoint/config/blip-config.ts';
import { float32, int64 } from '../../onnx/constants.ts';
import type { Scope, Value } from '../../onnx/graph.ts';
import { multiHeadAttention } from '../../onnx/microsoft-operators.ts';
import * as op from '../../onnx/operators.ts';
import {
  attentionOutput,
  type CrossAttentionState,
  crossAttention,
  embedTokens,
  feedForwardBlock,
  layerIndices,
  MASKED,
  ofLayer,
} from '../language-models/bert.ts';
import { asRows, linear } from '../layers.ts';
import { child, type Module } from '../module.ts';
import type { RowsByImage } from '../rows-by-image.ts';

/** Texts of a batch, padded on the right. */
export interface EncoderInputs {
  /** [rows, length]: each [CLS], the text and [SEP]. */
  readonly inputIds: Value<'int64'>;
  /** [rows]: tokens of each row that are not padding. */
  readonly textLength: Value<'int64'>;
  /** What each layer's cross-attention reads; absent to read the text alone, as ITC does. */
  readonly image?: { readonly cross: readonly CrossAttentionState[]; readonly rowsByImage: RowsByImage };
}

/**
 * [rows, 1, 1, length]: zero where a row has a token, `MASKED` at its padding.
 */
export function paddingBias(scope: Scope, inputIds: Value<'int64'>, textLength: Value<'int64'>): Value<'float32'> {
  const places = op.unsqueeze(scope, placesOf(scope, inputIds), [0, 1, 2]); // [1, 1, 1, length]
  const isText = op.less(scope, places, op.unsqueeze(scope, textLength, [1, 2, 3]));
  return op.where(scope, isText, float32(scope, 0), float32(scope, MASKED));
}

/**
 * transformers' `BlipTextModel` with `is_decoder=False` (models/blip/modeling_blip_text.py): every token sees every
 * other. Padding is never attended to, so a row computes what it would alone; what stands at padding means nothing.
 * @returns the hidden states [rows * length, hidden].
 */
export function textEncoder(module: Module, config: TextConfig, inputs: EncoderInputs): Value<'float32'> {
  const { inputIds, textLength, image } = inputs;
  const positionIds = op.unsqueeze(module, placesOf(module, inputIds), [0]);
  const length = op.dimension(module, inputIds, 1);
  const bias = op.expand(module, paddingBias(module, inputIds, textLength), [1, 1, length, 1]);
  const rowShape = op.shape(module, [op.dimension(module, inputIds, 0), -1, config.hiddenSize]);
  let hidden = embedTokens(module, config, inputIds, positionIds);
  for (const index of layerIndices(config)) {
    const layer = child(module, `encoder.layer.${index}`);
    const attended = selfAttention(child(layer, 'attention'), config, hidden, { bias, rowShape });
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
export function firstTokens(
  scope: Scope,
  inputs: EncoderInputs,
  hidden: Value<'float32'>,
  width: number,
): Value<'float32'> {
  const rowShape = op.shape(scope, [op.dimension(scope, inputs.inputIds, 0), -1, width]);
  return op.gather(scope, op.reshapeTo(scope, hidden, rowShape), int64(scope, 0), 1);
}

/** [length]: 0, 1, 2, … */
function placesOf(scope: Scope, inputIds: Value<'int64'>): Value<'int64'> {
  const length = op.squeeze(scope, op.dimension(scope, inputIds, 1), [0]);
  return op.range(scope, int64(scope, 0), length, int64(scope, 1));
}

function selfAttention(
  module: Module,
  config: TextConfig,
  x: Value<'float32'>,
  context: { readonly bias: Value<'float32'>; readonly rowShape: Value<'int64'> },
): Value<'float32'> {
  const { hiddenSize } = config;
  const attention = child(module, 'self');
  const project = (name: string) =>
    op.reshapeTo(attention, linear(child(attention, name), x, hiddenSize, hiddenSize), context.rowShape);
  const attended = multiHeadAttention(
    attention,
    { query: project('query'), key: project('key'), value: project('value'), bias: context.bias },
    config.headCount,
  );
  return attentionOutput(module, config, asRows(attention, attended, hiddenSize), x);
}
