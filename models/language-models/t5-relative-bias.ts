import type { T5Config } from '../../checkpoint/config/t5-config.ts';
import type { Real } from '../../onnx/element-type.ts';
import type { Value } from '../../onnx/graph.ts';
import { type Module, prepared, weight } from '../module.ts';

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

/** [heads, distances], in the order of `distances` of key − query: written once, outside any loop. */
function biasByDistance(stack: Module, config: T5Config, buckets: readonly number[]): Value<Real> {
  const name = 'block.0.layer.0.SelfAttention.relative_attention_bias.weight';
  const table = weight(stack, name, [config.distanceBucketCount, config.headCount]);
  return prepared(stack, 'bias_by_distance', [table], ({ op }) =>
    op.transpose(op.gather(table, op.constant('int64', buckets), 0), [1, 0]),
  );
}

/** The bucket of each distance key − query from −`maxDistance` to `maxDistance`. Later keys have buckets of their own. */
function encoderBuckets({ distanceBucketCount, maxDistance }: T5Config): readonly number[] {
  const half = Math.floor(distanceBucketCount / 2);
  const buckets = distanceBuckets(half, maxDistance);
  return [...buckets.toReversed(), ...buckets.slice(1).map((bucket) => bucket + half)];
}

/** The bias of an encoder, whose tokens look in both directions: [1, heads, length, length]. `length` is [1]. */
export function encoderBias(encoder: Module, config: T5Config, length: Value<'int64'>): Value<Real> {
  const { op } = encoder;
  const positions = op.countTo(length);
  const distances = op.sub(op.unsqueeze(positions, [0]), op.unsqueeze(positions, [1])); // [queries, keys]
  const { maxDistance } = config;
  const places = op.add(op.max(op.min(distances, maxDistance), -maxDistance), maxDistance);
  return op.unsqueeze(op.gather(biasByDistance(encoder, config, encoderBuckets(config)), places, 1), [0]);
}

/** The buckets of distances from a query to keys before it, from the furthest that there may be to 0. */
function decoderBuckets({ distanceBucketCount, maxDistance, maxPositions }: T5Config): readonly number[] {
  const buckets = distanceBuckets(distanceBucketCount, maxDistance);
  const furthest = buckets.at(-1) ?? 0;
  return Array.from({ length: maxPositions }, (_, distance) => buckets[distance] ?? furthest).reverse();
}

/**
 * The bias of a decoder's newest token, which looks at itself and those before: [1, heads, 1, keys]. It is the end of one
 * table, so that a step costs no arithmetic. Its size is made of shapes alone, which a GPU's host knows.
 * @param keyCount at most `maxPositions`: [1].
 */
export function decoderBias(decoder: Module, config: T5Config, keyCount: Value<'int64'>): Value<Real> {
  const { op } = decoder;
  const table = biasByDistance(decoder, config, decoderBuckets(config));
  const end = op.dimension(table, 1);
  return op.unsqueeze(op.slice(table, op.sub(end, keyCount), end, [1]), [0, 2]);
}
