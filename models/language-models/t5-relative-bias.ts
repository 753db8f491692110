import type { T5Config } from '../../checkpoint/config/t5-config.ts';
import type { Real } from '../../onnx/element-type.ts';
import { once, outermost, type Value } from '../../onnx/graph.ts';
import { createScope } from '../../onnx/scope.ts';
import { type Module, pathOf, weight } from '../module.ts';

/**
 * T5's attention has a learned bias for each head and each bucket of distances (transformers' models/t5/modeling_t5.py,
 * `T5Attention.compute_bias`). The first block of a stack has the weights, and all its blocks add the bias.
 */

/**
 * `T5Attention._relative_position_bucket` of distances from 0 to `maxDistance`. It computes in float32, and so does this.
 * Up to half of the buckets each have one distance, and the others ever more.
 */
export function distanceBuckets(bucketCount: number, maxDistance: number): readonly number[] {
  const exactCount = Math.floor(bucketCount / 2);
  const octaves = Math.fround(Math.log(maxDistance / exactCount));
  return Array.from({ length: maxDistance + 1 }, (_, distance) => {
    if (distance < exactCount) return distance;
    const logarithm = Math.fround(Math.log(Math.fround(distance / exactCount)));
    const share = Math.fround(Math.fround(logarithm / octaves) * (bucketCount - exactCount));
    return Math.min(bucketCount - 1, exactCount + Math.trunc(share));
  });
}

type Direction = 'both' | 'before';

/** The bucket of each distance key − query from −`maxDistance` to `maxDistance`, or of those to keys before, from 0 on. */
function bucketsOf({ distanceBucketCount, maxDistance }: T5Config, direction: Direction): readonly number[] {
  if (direction === 'before') return distanceBuckets(distanceBucketCount, maxDistance);
  const half = Math.floor(distanceBucketCount / 2);
  const buckets = distanceBuckets(half, maxDistance);
  const after = buckets.slice(1).map((bucket) => bucket + half);
  return [...buckets.toReversed(), ...after];
}

/** [heads, distances]: written once, outside any loop. */
function biasByDistance(stack: Module, config: T5Config, direction: Direction): Value<Real> {
  const { distanceBucketCount, headCount } = config;
  const name = 'block.0.layer.0.SelfAttention.relative_attention_bias.weight';
  const table = weight(stack, name, [distanceBucketCount, headCount]);
  const root = outermost(stack.op.graph);
  const path = pathOf(stack, 'bias_by_distance');
  return once(root, path, stack.precision, () => {
    const { op } = createScope(root, path);
    return op.transpose(op.gather(table, op.constant('int64', bucketsOf(config, direction)), 0), [1, 0]);
  });
}

/** The bias of an encoder, whose tokens look in both directions: [1, heads, length, length]. `length` is [1]. */
export function encoderBias(encoder: Module, config: T5Config, length: Value<'int64'>): Value<Real> {
  const { op } = encoder;
  const positions = op.countTo(length);
  const distances = op.sub(op.unsqueeze(positions, [0]), op.unsqueeze(positions, [1])); // [queries, keys]
  const { maxDistance } = config;
  const places = op.add(op.max(op.min(distances, maxDistance), -maxDistance), maxDistance);
  return op.unsqueeze(op.gather(biasByDistance(encoder, config, 'both'), places, 1), [0]);
}

/**
 * The bias of a decoder's newest token, which looks at itself and those before: [1, heads, 1, keys].
 * @param pastLength how many tokens the cache holds: [1].
 */
export function decoderBias(decoder: Module, config: T5Config, pastLength: Value<'int64'>): Value<Real> {
  const { op } = decoder;
  const keys = op.countTo(op.add(pastLength, 1));
  const distances = op.min(op.sub(pastLength, keys), config.maxDistance);
  return op.unsqueeze(op.gather(biasByDistance(decoder, config, 'before'), distances, 1), [0, 2]);
}
