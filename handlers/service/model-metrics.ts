import {
  Counter,
  type CounterConfiguration,
  Gauge,
  type GaugeConfiguration,
  Histogram,
  type HistogramConfiguration,
  type Registry,
} from 'prom-client';
import type Handler from '../../app.ts';
import type { TensorAnswer } from '../../pipeline/infer-request.ts';
import { HandlerError } from '../../protocol/errors.ts';

/** From a small model on a GPU to a large one on a CPU. */
const secondsBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const itemBuckets = [1, 2, 4, 8, 16, 32, 64];
const MILLISECONDS_PER_SECOND = 1000;

const requests: CounterConfiguration<'model' | 'code'> = {
  name: 'blip_requests_total',
  help: 'Requests by what came of them: ok, or an error code.',
  labelNames: ['model', 'code'],
};
const failedItems: CounterConfiguration<'model' | 'code'> = {
  name: 'blip_failed_items_total',
  help: 'Items without a result in requests that have some, by error code.',
  labelNames: ['model', 'code'],
};
const durations: HistogramConfiguration<'model'> = {
  name: 'blip_request_seconds',
  help: 'Time from an accepted request to its answer.',
  labelNames: ['model'],
  buckets: secondsBuckets,
};
const stages: HistogramConfiguration<'model' | 'stage'> = {
  name: 'blip_stage_seconds',
  help: 'Time of each stage of a request, its slowest item counting.',
  labelNames: ['model', 'stage'],
  buckets: secondsBuckets,
};
const tokens: CounterConfiguration<'model'> = {
  name: 'blip_generated_tokens_total',
  help: 'Tokens that were generated.',
  labelNames: ['model'],
};
const batches: HistogramConfiguration<'model'> = {
  name: 'blip_batch_items',
  help: 'Texts generated together, or images and texts encoded together.',
  labelNames: ['model'],
  buckets: itemBuckets,
};

const cachedImages: CounterConfiguration<'model' | 'result'> = {
  name: 'blip_image_cache_images_total',
  help: 'Images that a batch looked up in the cache: hit, or miss. None without BLIP_IMAGE_CACHE_BYTES.',
  labelNames: ['model', 'result'],
};
const cacheBytes: GaugeConfiguration<'model'> = {
  name: 'blip_image_cache_bytes',
  help: 'Bytes of encoded images that are kept, at the end of the last batch.',
  labelNames: ['model'],
};

/** Prometheus metrics of models: requests, failures, times, tokens, batches and the cache of images, by model. */
export class ModelMetrics {
  readonly #requests: Counter<'model' | 'code'>;
  readonly #failedItems: Counter<'model' | 'code'>;
  readonly #durations: Histogram<'model'>;
  readonly #stages: Histogram<'model' | 'stage'>;
  readonly #tokens: Counter<'model'>;
  readonly #batches: Histogram<'model'>;
  readonly #cachedImages: Counter<'model' | 'result'>;
  readonly #cacheBytes: Gauge<'model'>;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#requests = new Counter({ ...requests, registers });
    this.#failedItems = new Counter({ ...failedItems, registers });
    this.#durations = new Histogram({ ...durations, registers });
    this.#stages = new Histogram({ ...stages, registers });
    this.#tokens = new Counter({ ...tokens, registers });
    this.#batches = new Histogram({ ...batches, registers });
    this.#cachedImages = new Counter({ ...cachedImages, registers });
    this.#cacheBytes = new Gauge({ ...cacheBytes, registers });
  }

  /** Counts the requests and batches of a model from here on. */
  observe(observedModel: Handler): void {
    const label = () => observedModel.name ?? '';
    observedModel.observe({
      batchDone: (itemCount, _, imageCache) => {
        const model = label();
        this.#batches.observe({ model }, itemCount);
        if (imageCache === undefined) return;
        this.#cachedImages.inc({ model, result: 'hit' }, imageCache.hits);
        this.#cachedImages.inc({ model, result: 'miss' }, imageCache.misses);
        this.#cacheBytes.set({ model }, imageCache.bytes);
      },
      done: (outcome, durationMs) => {
        const model = label();
        if (outcome instanceof HandlerError) this.#requests.inc({ model, code: outcome.code });
        else this.#countAnswer(model, outcome, durationMs);
      },
    });
  }

  #countAnswer(model: string, { generatedTokens, failures, times }: TensorAnswer, durationMs: number): void {
    this.#requests.inc({ model, code: 'ok' });
    this.#durations.observe({ model }, durationMs / MILLISECONDS_PER_SECOND);
    this.#tokens.inc({ model }, generatedTokens);
    for (const { code } of failures) this.#failedItems.inc({ model, code });
    for (const [stage, stageMs] of Object.entries(times))
      this.#stages.observe({ model, stage: stage.replace(/Ms$/, '') }, stageMs / MILLISECONDS_PER_SECOND);
  }
}
