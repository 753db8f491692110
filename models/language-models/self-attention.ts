import type { TextConfig } from '../../checkpoint/config/blip-config.ts';
import type { Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import type { Size, TargetShape } from '../../onnx/operators.ts';
import type { Scope } from '../../onnx/scope.ts';
import { mapValues } from '../../onnx/value-tree.ts';
import { joinProjections } from '../joined-projections.ts';
import { asRows, linear, linearWithoutBias, queryKeyValue } from '../layers.ts';
import { child, type Module } from '../module.ts';
import { attentionOutput, headSize, type KeysAndValues, layerIndices } from './bert.ts';

/** The self-attention of a decoder, and its cache. */

/** The Linears of query, key and value below an attention. */
export interface Projections {
  readonly names: readonly [query: string, key: string, value: string];
  readonly hasBias: boolean;
}

const projectionsOfBert: Projections = { names: ['query', 'key', 'value'], hasBias: true };

/** Sizes of the layers whose caches these are. */
interface CacheSizes {
  readonly hiddenSize: number;
  readonly headCount: number;
  readonly layerCount: number;
}

/** Keys and values in one tensor, which the operator Attention appends to at once. */
interface StackedKeysAndValues {
  /** [2, sequences, heads, length, head size] */
  readonly stacked: Value<Real>;
}

/** The tokens that one layer has read. The lean form stacks their keys and values. */
export type LayerCache = KeysAndValues | StackedKeysAndValues;

/** Caches of all layers that hold nothing yet, written in `scope`. */
export function emptyCache(
  { op }: Scope,
  module: Module,
  config: CacheSizes,
  rowCount: Value<'int64'>,
): readonly LayerCache[] {
  const ofOneKind = [rowCount, config.headCount, 0, headSize(config)];
  if (module.form === 'lean') {
    const stacked = op.fill(module.precision, 0, [2, ...ofOneKind]);
    return layerIndices(config).map(() => ({ stacked }));
  }
  const empty = op.fill(module.precision, 0, ofOneKind);
  return layerIndices(config).map(() => ({ keys: empty, values: empty }));
}

/** How many tokens a cache holds. */
export function cacheLength({ op }: Scope, cache: LayerCache): Size {
  return 'stacked' in cache ? op.dimension(cache.stacked, 3) : op.dimension(cache.keys, 2);
}

/** The caches of these sequences, [sequences]. */
export function cacheOf<Cache extends object>({ op }: Scope, cache: Cache, sequences: Value<'int64'>): Cache {
  return mapValues(cache, (path, value) => op.gather(value, sequences, path.endsWith('.stacked') ? 1 : 0));
}

/** Says where a token looks, besides itself. */
export interface SelfAttentionContext {
  /** In the plain form: [rows, 1, tokens, keys], which hides later tokens and padding. */
  readonly bias?: Value<Real> | undefined;
  /** In the lean form, as the operator Attention takes it; absent where there is no padding. */
  readonly mask?: Value<'int32'> | undefined;
  readonly cache: LayerCache;
  /** The shape [rows, -1, hidden]. */
  readonly rowShape: TargetShape;
}

/** @returns hidden states of the shape of `x`, [rows * tokens, hidden], and the cache with the new tokens appended. */
export function selfAttention(
  module: Module,
  config: TextConfig,
  x: Value<Real>,
  context: SelfAttentionContext,
): { readonly hidden: Value<Real>; readonly present: LayerCache } {
  const attention = child(module, 'self');
  const { output, present } = cachedAttention(attention, config, x, context);
  const hidden = attentionOutput(module, config, asRows(attention, output, config.hiddenSize), x);
  return { hidden, present };
}

/** The attention of one layer, before the Linear of its output. */
interface Attended<Cache extends LayerCache> {
  /** [rows, tokens, hidden] */
  readonly output: Value<Real>;
  /** The cache with the new tokens appended. */
  readonly present: Cache;
}

/**
 * Self-attention without its output's Linear.
 * @param attention holds the Linears of query, key and value.
 * @param x [rows * tokens, hidden].
 */
export function cachedAttention(
  attention: Module,
  config: Omit<CacheSizes, 'layerCount'>,
  x: Value<Real>,
  context: SelfAttentionContext,
  projections: Projections = projectionsOfBert,
): Attended<LayerCache> {
  const { cache } = context;
  if ('stacked' in cache)
    return joinedAttention(attention, config, x, { ...context, past: cache.stacked }, projections);
  return separateAttention(attention, config, x, { ...context, past: cache }, projections);
}

function separateAttention(
  attention: Module,
  { hiddenSize, headCount }: Omit<CacheSizes, 'layerCount'>,
  x: Value<Real>,
  context: Omit<SelfAttentionContext, 'cache'> & { readonly past: KeysAndValues },
  { names, hasBias }: Projections,
): Attended<KeysAndValues> {
  const { bias, past, rowShape } = context;
  if (bias === undefined) throw new RangeError(`${attention.op.path}: expected a bias in the plain form.`);
  const project = hasBias ? linear : linearWithoutBias;
  const projected = queryKeyValue(attention, names, x, hiddenSize, rowShape, project);
  const { output, presentKey, presentValue } = attention.op.microsoft.cachedMultiHeadAttention(
    { ...projected, bias, pastKey: past.keys, pastValue: past.values },
    headCount,
  );
  return { output, present: { keys: presentKey, values: presentValue } };
}

function joinedAttention(
  attention: Module,
  { hiddenSize, headCount }: Omit<CacheSizes, 'layerCount'>,
  rows: Value<Real>,
  context: Omit<SelfAttentionContext, 'cache'> & { readonly past: Value<Real> },
  { names, hasBias }: Projections,
): Attended<StackedKeysAndValues> {
  const { mask, past, rowShape } = context;
  const { op } = attention;
  const { weight, bias: projectionBias } = joinProjections(attention, names, hiddenSize, hasBias);
  const { output, present } = op.microsoft.cachedSelfAttention(
    { x: op.reshape(rows, rowShape), weight, projectionBias, past, ...(mask === undefined ? {} : { mask }) },
    { headCount, isCausal: true },
  );
  return { output, present: { stacked: present } };
}
