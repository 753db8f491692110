import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type InferlessModel from '../../app.ts';
import { HandlerError } from '../../protocol/errors.ts';

/** From a small model on a GPU to a large one on a CPU. */
const secondsBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const itemBuckets = [1, 2, 4, 8, 16, 32, 64];
const MILLISECONDS = 1000;

export interface Metrics {
  readonly contentType: string;
  /** All metrics in Prometheus' text format. */
  text(): Promise<string>;
  /** Counts what a door answered, by the number of its protocol's status: also what never reached a model. */
  countAnswer(door: 'http' | 'grpc', status: number): void;
}

/** Prometheus metrics of a process and its models, which are observed from here on. */
export function createMetrics(models: readonly InferlessModel[]): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  addGauges(registry, models);
  const observe = modelObserver(registry);
  for (const model of models) observe(model);
  const answers = new Counter({
    name: 'blip_answers_total',
    help: 'Answers of the service by status, whatever was asked.',
    labelNames: ['door', 'status'] as const,
    registers: [registry],
  });
  return {
    contentType: registry.contentType,
    text: () => registry.metrics(),
    countAnswer: (door, status) => answers.inc({ door, status }),
  };
}

/** What is true now, looked at when it is asked for. */
function addGauges(registry: Registry, models: readonly InferlessModel[]): void {
  const add = (name: string, help: string, read: (model: NonNullable<InferlessModel['model']>) => number) =>
    new Gauge({
      name,
      help,
      labelNames: ['model'] as const,
      registers: [registry],
      collect() {
        this.reset();
        for (const { name: label, model } of models)
          if (model !== undefined && label !== undefined) this.set({ model: label }, read(model));
      },
    });
  add('blip_queue_items', 'Items that were accepted and are not answered yet.', (model) => model.queuedItems());
  add('blip_model_ready', 'Whether a worker thread lives.', (model) => Number(model.isHealthy()));
  add('blip_model_load_seconds', 'Time that the model took to be ready.', (model) => model.loadMs / MILLISECONDS);
}

/** A function that counts all that a model does from here on. */
function modelObserver(registry: Registry): (model: InferlessModel) => void {
  const registers = [registry];
  const requests = new Counter({
    name: 'blip_requests_total',
    help: 'Requests by what came of them: ok, or an error code.',
    labelNames: ['model', 'code'] as const,
    registers,
  });
  const failedItems = new Counter({
    name: 'blip_failed_items_total',
    help: 'Items without a result in requests that have some, by error code.',
    labelNames: ['model', 'code'] as const,
    registers,
  });
  const durations = new Histogram({
    name: 'blip_request_seconds',
    help: 'Time from an accepted request to its answer.',
    labelNames: ['model'] as const,
    buckets: secondsBuckets,
    registers,
  });
  const stages = new Histogram({
    name: 'blip_stage_seconds',
    help: 'Time of each stage of a request, its slowest item counting.',
    labelNames: ['model', 'stage'] as const,
    buckets: secondsBuckets,
    registers,
  });
  const tokens = new Counter({
    name: 'blip_generated_tokens_total',
    help: 'Tokens that were generated.',
    labelNames: ['model'] as const,
    registers,
  });
  const batches = new Histogram({
    name: 'blip_batch_items',
    help: 'Texts generated together, or images and texts encoded together.',
    labelNames: ['model'] as const,
    buckets: itemBuckets,
    registers,
  });
  return (observed) => {
    const labelOf = () => observed.name ?? '';
    observed.observe({
      batchDone: (itemCount) => batches.observe({ model: labelOf() }, itemCount),
      done(outcome, durationMs) {
        const model = labelOf();
        if (outcome instanceof HandlerError) return requests.inc({ model, code: outcome.code });
        requests.inc({ model, code: 'ok' });
        durations.observe({ model }, durationMs / MILLISECONDS);
        tokens.inc({ model }, outcome.generatedTokens);
        for (const { code } of outcome.failures) failedItems.inc({ model, code });
        for (const [stage, stageMs] of Object.entries(outcome.times))
          stages.observe({ model, stage: stage.replace(/Ms$/, '') }, stageMs / MILLISECONDS);
      },
    });
  };
}
