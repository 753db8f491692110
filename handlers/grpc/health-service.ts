import type Handler from '../../app.ts';
import { HandlerError } from '../../protocol/errors.ts';
import type { Drain } from '../service/drain.ts';
import { areReady } from '../service/readiness.ts';
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from './generated/grpc/health/v1/health_pb.js';
import { GRPCInferenceService } from './generated/open_inference_pb.js';
import { addServerStream, addUnary, type MethodContext, stoppingError } from './methods.ts';
import { watchState } from './status-watch.ts';

/** No event tells that a worker has ended or a model is loaded, so the state is polled for those who watch it. */
const WATCH_INTERVAL_MS = 100;

/**
 * Adds the health service of gRPC: for the whole server (empty name), the inference service and each model. It is open,
 * because probes have no token.
 * Source: grpc/grpc, doc/health-checking.md.
 */
export function addHealthService(
  context: MethodContext,
  models: readonly Handler[],
  drain: Pick<Drain, 'isDraining'>,
): void {
  const { stopping } = context;
  const statusOf = (served: readonly Handler[]) =>
    areReady(served, drain) ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
  const statuses = (): readonly (readonly [string, ServingStatus])[] => [
    ['', statusOf(models)],
    [GRPCInferenceService.typeName, statusOf(models)],
    ...models.flatMap((model) => (model.name === undefined ? [] : [[model.name, statusOf([model])] as const])),
  ];
  const watch = watchState(statuses, WATCH_INTERVAL_MS, stopping);

  addUnary(context, Health.method.check, ({ service }) => {
    const known = new Map(statuses());
    const status = known.get(service);
    if (status !== undefined) return { status };
    throw new HandlerError(
      'NOT_FOUND',
      `Expected one of the services ${[...known.keys()].filter(Boolean).join(', ')}, got another name.`,
    );
  });
  addUnary(context, Health.method.list, () => ({
    statuses: Object.fromEntries(statuses().map(([name, status]) => [name, { status }])),
  }));
  addServerStream(context, Health.method.watch, async ({ service }, { signal, write }) => {
    let lastStatus: ServingStatus | undefined;
    while (!signal.aborted) {
      const status = new Map(watch.current()).get(service) ?? ServingStatus.SERVICE_UNKNOWN;
      if (status === lastStatus) {
        if (stopping.aborted) throw stoppingError();
        await watch.changed(signal);
      } else {
        lastStatus = status;
        await write({ status });
      }
    }
  });
}
