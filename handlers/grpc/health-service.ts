import { setTimeout as sleep } from 'node:timers/promises';
import type InferlessModel from '../../app.ts';
import { HandlerError } from '../../protocol/errors.ts';
import type { Draining } from './drain.ts';
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from './generated/grpc/health/v1/health_pb.js';
import { GRPCInferenceService } from './generated/open_inference_pb.js';
import { addServerStream, addUnary, type MethodContext, stoppingError } from './methods.ts';

/** No event says that a worker has ended or a model is loaded, so watchers are served by looking. */
const WATCH_INTERVAL_MS = 100;

/**
 * The health service of gRPC: of the whole server (empty name), the inference service, and each model. Open without a
 * token: probes have none.
 * Source: grpc/grpc, doc/health-checking.md.
 */
export function addHealthService(
  context: MethodContext,
  models: readonly InferlessModel[],
  { isDraining, stopping }: Draining,
): void {
  const isReady = ({ model }: InferlessModel) => model?.isHealthy() === true && !isDraining();
  const statusOf = (served: readonly InferlessModel[]) =>
    served.every(isReady) ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
  const statuses = (): ReadonlyMap<string, ServingStatus> =>
    new Map([
      ['', statusOf(models)],
      [GRPCInferenceService.typeName, statusOf(models)],
      ...models.flatMap((model) => (model.name === undefined ? [] : [[model.name, statusOf([model])] as const])),
    ]);

  addUnary(context, Health.method.check, ({ service }) => {
    const status = statuses().get(service);
    if (status !== undefined) return { status };
    throw new HandlerError(
      'NOT_FOUND',
      `Expected one of the services ${[...statuses().keys()].filter(Boolean).join(', ')}, got another name.`,
    );
  });
  addUnary(context, Health.method.list, () => ({
    statuses: Object.fromEntries([...statuses()].map(([name, status]) => [name, { status }])),
  }));
  addServerStream(context, Health.method.watch, async ({ service }, { signal, write }) => {
    const ended = AbortSignal.any([signal, stopping]);
    let told: ServingStatus | undefined;
    while (!signal.aborted) {
      const status = statuses().get(service) ?? ServingStatus.SERVICE_UNKNOWN;
      if (status !== told) await write({ status });
      told = status;
      if (stopping.aborted) throw stoppingError();
      await sleep(WATCH_INTERVAL_MS, undefined, { signal: ended }).catch(() => undefined); // Looked at above.
    }
  });
}
