import type { TextConfig } from '../../checkpoint/config/blip-config.ts';
import type { Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import type { Size, TargetShape } from '../../onnx/operators.ts';
import type { Scope } from '../../onnx/scope.ts';
import { activate, layerNorm, product } from '../layers.ts';
import { child, type Module, weight } from '../module.ts';
import { quantizedLinear } from '../quantized-linear.ts';
import type { RowsByImage } from '../rows-by-image.ts';
import {
  addPositionRange,
  addPositions,
  type CrossAttentionState,
  crossAttention,
  embedWords,
  feedForwardBlock,
  layerIndices,
  ofLayer,
} from './bert.ts';
import { fromFirstToken, hideLaterAndPadding, readRange, tokenPositions } from './decoder-positions.ts';
import type { PreparedPadding } from './prepared-padding.ts';
import { cacheLength, type LayerCache, type SelfAttentionContext, selfAttention } from './self-attention.ts';

export interface DecoderInputs {
  /** [rows, tokens, hidden], from `embedText`: the tokens that are new in this step. */
  readonly embeddings: Value<Real>;
  /** [rows]: how many tokens of padding stand before the first token of each row; absent where none do (the lean form). */
  readonly paddingLength?: Value<'int64'> | undefined;
  /** In place of `paddingLength` where it is prepared for all steps (the lean form). */
  readonly padding?: PreparedPadding | undefined;
  /** Self-attention cache of each layer; its length is 0 in the first step. */
  readonly past: readonly LayerCache[];
  /** Cross-attention keys and values of each layer, from `crossAttentionStates`. */
  readonly cross: readonly CrossAttentionState[];
  readonly rowsByImage: RowsByImage;
}

/** [rows, tokens] → [rows, tokens, hidden]. The matrix is tied to that of the head where a checkpoint stores only one. */
export function embedText(decoder: Module, config: TextConfig, inputIds: Value<'int64'>): Value<Real> {
  return embedWords(child(decoder, 'bert'), config, inputIds, [`${decoder.op.path}.cls.predictions.decoder.weight`]);
}

/**
 * One step of transformers' `BlipTextLMHeadModel` with `is_decoder=True` (models/blip/modeling_blip_text.py).
 * @returns the logits [rows, vocabulary] of the last token, and the cache with the new tokens appended.
 */
export function textDecoder(
  decoder: Module,
  config: TextConfig,
  inputs: DecoderInputs,
): { readonly logits: Value<'float32'>; readonly present: readonly LayerCache[] } {
  const { hidden, rowShape, present } = textDecoderStates(decoder, config, inputs);
  const { op } = decoder;
  // Only the last token of each row is scored: [rows * tokens, hidden] → [rows, hidden].
  const last = op.gather(op.reshape(hidden, rowShape), -1, 1);
  return { logits: languageModelHead(decoder, config, last), present };
}

/**
 * The decoder without its head: `BlipTextModel`. Positions count from each row's first token and padding is never attended
 * to, so a row computes what it would alone.
 * @returns hidden states [rows * tokens, hidden], the shape [rows, -1, hidden], and the cache with the new tokens.
 */
export function textDecoderStates(
  decoder: Module,
  config: TextConfig,
  inputs: DecoderInputs,
): {
  readonly hidden: Value<Real>;
  readonly rowShape: TargetShape;
  readonly present: readonly LayerCache[];
} {
  const { past } = inputs;
  const { embedded, ...context } = start(decoder, config, inputs);
  let hidden = embedded;
  const present = layerIndices(config).map((index) => {
    const layer = child(decoder, `bert.encoder.layer.${index}`);
    const attended = selfAttention(child(layer, 'attention'), config, hidden, {
      ...context,
      cache: ofLayer(past, index),
    });
    const crossed = crossAttention(
      child(layer, 'crossattention'),
      config,
      attended.hidden,
      ofLayer(inputs.cross, index),
      inputs.rowsByImage,
    );
    hidden = feedForwardBlock(layer, config, crossed);
    return attended.present;
  });
  return { hidden, rowShape: context.rowShape, present };
}

/** The first layer's input. */
interface Start extends Omit<SelfAttentionContext, 'cache'> {
  /** [rows * tokens, hidden] */
  readonly embedded: Value<Real>;
}

function start(decoder: Module, config: TextConfig, inputs: DecoderInputs): Start {
  const { paddingLength, padding } = inputs;
  if (padding !== undefined) return startPrepared(decoder, config, inputs, padding);
  if (paddingLength !== undefined) return startAfterPadding(decoder, config, inputs, paddingLength);
  return startAtOnce(decoder, config, inputs);
}

/** Positions count from each row's first token, and padding is never attended to. */
function startAfterPadding(
  decoder: Module,
  config: TextConfig,
  inputs: DecoderInputs,
  paddingLength: Value<'int64'>,
): Start {
  const positions = tokenPositions(decoder, pastLength(decoder, inputs), inputs.embeddings);
  const hiding = hideLaterAndPadding(decoder, positions, paddingLength);
  const rowShape = rowShapeOf(decoder, config, inputs);
  const bert = child(decoder, 'bert');
  const positionIds = fromFirstToken(child(bert, 'embeddings'), positions, paddingLength);
  return { embedded: addPositions(bert, config, inputs.embeddings, positionIds), ...hiding, rowShape };
}

/** All rows begin at once, and so have the same positions. */
function startAtOnce(decoder: Module, config: TextConfig, inputs: DecoderInputs): Start {
  const embedded = addPositionRange(
    child(decoder, 'bert'),
    config,
    inputs.embeddings,
    readRange(decoder, pastLength(decoder, inputs), inputs.embeddings),
  );
  return { embedded, rowShape: rowShapeOf(decoder, config, inputs) };
}

function startPrepared(
  decoder: Module,
  config: TextConfig,
  inputs: DecoderInputs,
  { positions, mask }: PreparedPadding,
): Start {
  const range = readRange(decoder, pastLength(decoder, inputs), inputs.embeddings);
  const embedded = addPositionRange(child(decoder, 'bert'), config, inputs.embeddings, range, positions);
  return { embedded, mask, rowShape: rowShapeOf(decoder, config, inputs) };
}

function rowShapeOf({ op }: Scope, config: TextConfig, { embeddings }: DecoderInputs): TargetShape {
  return op.shape([op.dimension(embeddings, 0), -1, config.hiddenSize]);
}

/** How many tokens the caches hold: [1]. */
function pastLength(scope: Scope, { past }: DecoderInputs): Size {
  return cacheLength(scope, ofLayer(past, 0));
}

/**
 * `BlipTextOnlyMLMHead`. The matrix is tied to the word embeddings where a checkpoint stores only those. Of the two
 * names of the bias, `decoder.bias` is the one transformers computes with when a file has both.
 */
export function languageModelHead(decoder: Module, config: TextConfig, hidden: Value<Real>): Value<'float32'> {
  const { hiddenSize, vocabularySize, layerNormEpsilon } = config;
  const predictions = child(decoder, 'cls.predictions');
  const transform = child(predictions, 'transform');
  const dense = activate(
    transform,
    product(child(transform, 'dense'), hidden, hiddenSize, hiddenSize),
    config.activation,
  );
  const normalized = layerNorm(child(transform, 'LayerNorm'), dense, hiddenSize, layerNormEpsilon);
  const output = child(predictions, 'decoder');
  const bias = () => weight(output, 'bias', [vocabularySize], { tiedTo: [`${predictions.op.path}.bias`] });
  const sizes = { inputSize: hiddenSize, outputSize: vocabularySize };
  const quantized = quantizedLinear(output, normalized, sizes, bias);
  if (quantized !== undefined) return quantized;
  const matrix = weight(output, 'weight', [vocabularySize, hiddenSize], {
    tiedTo: [`${decoder.op.path}.bert.embeddings.word_embeddings.weight`],
  });
  return output.op.cast(output.op.gemm(normalized, matrix, bias()), 'float32');
}
