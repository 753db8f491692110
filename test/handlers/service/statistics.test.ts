import { expect, test } from 'vitest';
import Handler, { type HandlerEvents } from '../../../app.ts';
import { StatisticsCollector } from '../../../handlers/service/statistics.ts';
import { testSettings } from '../../support/server.ts';

const observers: HandlerEvents[] = [];
class ObservedModel extends Handler {
  override observe(observer: HandlerEvents): void {
    observers.push(observer);
  }
}

test("batches and requests have the durations that Triton's have", () => {
  const collector = new StatisticsCollector(new ObservedModel(testSettings()));
  for (const [itemCount, durationMs] of [
    [2, 3],
    [1, 1],
    [2, 4],
  ] as const)
    for (const { batchDone } of observers) batchDone?.(itemCount, durationMs);
  const { batch_stats, inference_stats, inference_count, execution_count } = collector.collect();
  const none = (count: number) => ({ count, ns: 0 });
  expect(batch_stats).toEqual([
    { batch_size: 1, compute_input: none(1), compute_infer: { count: 1, ns: 1e6 }, compute_output: none(1) },
    { batch_size: 2, compute_input: none(2), compute_infer: { count: 2, ns: 7e6 }, compute_output: none(2) },
  ]);
  expect([inference_count, execution_count]).toEqual([5, 3]);
  expect(Object.keys(inference_stats).sort()).toEqual([
    'cache_hit',
    'cache_miss',
    'compute_infer',
    'compute_input',
    'compute_output',
    'fail',
    'queue',
    'success',
  ]);
});
