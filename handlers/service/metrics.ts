import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type Handler from '../../app.ts';
import { ModelMetrics } from './model-metrics.ts';

const MILLISECONDS_PER_SECOND = 1000;

export interface Metrics {
  readonly contentType: string;
  /** All metrics in Prometheus' text format. */
  text(): Promise<string>;
  /** Counts an answer by the status number of its protocol, including answers to requests that never reached a model. */
  countAnswer(door: 'http' | 'grpc', status: number): void;
}

/** Prometheus metrics of a process and its models, which are observed from here on. */
export function createMetrics(models: readonly Handler[]): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  addGauges(registry, models);
  const modelMetrics = new ModelMetrics(registry);
  for (const model of models) modelMetrics.observe(model);
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

/** Adds values that are read when metrics are asked for. */
function addGauges(registry: Registry, models: readonly Handler[]): void {
  const add = (name: string, help: string, read: (model: NonNullable<Handler['model']>) => number) =>
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
  add('blip_model_ready', 'Whether a worker thread lives and makes progress.', (model) => Number(model.isHealthy()));
  add(
    'blip_model_load_seconds',
    'Time that the model took to be ready.',
    (model) => model.loadMs / MILLISECONDS_PER_SECOND,
  );
}
