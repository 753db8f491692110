import { Counter, Histogram, type Registry } from 'prom-client';
import type Handler from '../../app.ts';
import type { TensorAnswer } from '../../pipeline/infer-request.ts';
import { HandlerError } from '../../protocol/errors.ts';

/** From a small model on a GPU to a large one on a CPU. */
const secondsBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const itemBuckets = [1, 2, 4, 8, 16, 32, 64];
const MILLISECONDS_PER_SECOND = 1000;

/** Prometheus metrics of what models do: requests, failures, times, tokens and batches, by model. */
export class ModelMetrics {
  readonly #requests: Counter<'model' | 'code'>;
  readonly #failedItems: Counter<'model' | 'code'>;
  readonly #durations: Histogram<'model'>;
  readonly #stages: Histogram<'model' | 'stage'>;
  readonly #tokens: Counter<'model'>;
  readonly #batches: Histogram<'model'>;

  constructor(registry: Registry) {
    const counter = <Label extends string>(name: string, help: string, labelNames: readonly Label[]) =>
      new Counter({ name, help, labelNames, registers: [registry] });
    const histogram = <Label extends string>(
      name: string,
      help: string,
      labelNames: readonly Label[],
      buckets: number[],
    ) => new Histogram({ name, help, labelNames, buckets, registers: [registry] });
    this.#requests = counter('blip_requests_total', 'Requests by what came of them: ok, or an error code.', [
      'model',
      'code',
    ]);
    this.#failedItems = counter(
      'blip_failed_items_total',
      'Items without a result in requests that have some, by error code.',
      ['model', 'code'],
    );
    this.#durations = histogram(
      'blip_request_seconds',
      'Time from an accepted request to its answer.',
      ['model'],
      secondsBuckets,
    );
    this.#stages = histogram(
      'blip_stage_seconds',
      'Time of each stage of a request, its slowest item counting.',
      ['model', 'stage'],
      secondsBuckets,
    );
    this.#tokens = counter('blip_generated_tokens_total', 'Tokens that were generated.', ['model']);
    this.#batches = histogram(
      'blip_batch_items',
      'Texts generated together, or images and texts encoded together.',
      ['model'],
      itemBuckets,
    );
  }

  /** Counts everything that a model does from here on. */
  observe(observedModel: Handler): void {
    const label = () => observedModel.name ?? '';
    observedModel.observe({
      batchDone: (itemCount) => this.#batches.observe({ model: label() }, itemCount),
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
