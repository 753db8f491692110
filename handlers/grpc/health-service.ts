import type Handler from '../../app.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { areReady, type Stopping } from '../service/readiness.ts';
import { VisualQuestionAnswering } from './generated/blip/v1/visual_question_answering_pb.js';
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from './generated/grpc/health/v1/health_pb.js';
import { JinaRPC, JinaSingleDataRequestRPC } from './generated/jina/jina_pb.js';
import { GRPCInferenceService } from './generated/open_inference_pb.js';
import { addServerStream, addUnary, type MethodContext, type Stream, stoppingError } from './methods.ts';
import { StatusWatch } from './status-watch.ts';

/** No event tells that a worker has ended or a model is loaded, so the state is polled for those who watch it. */
const WATCH_INTERVAL_MS = 100;

/** The services that ask models. */
const modelServices = [GRPCInferenceService, VisualQuestionAnswering, JinaRPC, JinaSingleDataRequestRPC];

/**
 * Adds the health service of gRPC: for the whole server (empty name), the services that ask models and each model. It is
 * open, because probes have no token.
 * Source: grpc/grpc, doc/health-checking.md.
 */
export function addHealthService(context: MethodContext, models: readonly Handler[], drain: Stopping): void {
  const statuses = () => statusesOf(models, drain);
  const watch = new StatusWatch(statuses, WATCH_INTERVAL_MS, context.stopping);

  addUnary(context, Health.method.check, ({ service }) => ({ status: requireStatus(statuses(), service) }));
  addUnary(context, Health.method.list, () => ({
    statuses: Object.fromEntries(statuses().map(([name, status]) => [name, { status }])),
  }));
  addServerStream(context, Health.method.watch, ({ service }, stream) =>
    writeChanges(service, watch, stream, context.stopping),
  );
}

/** Services by name, with their statuses. */
type Statuses = readonly (readonly [name: string, status: ServingStatus])[];

function statusesOf(models: readonly Handler[], drain: Stopping): Statuses {
  const statusOf = (served: readonly Handler[]) =>
    areReady(served, drain) ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
  const named = models.flatMap((model) => (model.name === undefined ? [] : [[model.name, statusOf([model])] as const]));
  const services = ['', ...modelServices.map(({ typeName }) => typeName)];
  return [...services.map((name) => [name, statusOf(models)] as const), ...named];
}

/** @throws HandlerError `NOT_FOUND` for another name. */
function requireStatus(statuses: Statuses, service: string): ServingStatus {
  const known = new Map(statuses);
  const status = known.get(service);
  if (status !== undefined) return status;
  const names = [...known.keys()].filter(Boolean).join(', ');
  throw new HandlerError('NOT_FOUND', `Expected one of the services ${names}, got another name.`);
}

const { input, output } = Health.method.watch;
type WatchStream = Pick<Stream<typeof input, typeof output>, 'signal' | 'write'>;

/**
 * Writes the status of a service, and each other one that follows it, until the call or the server ends.
 * @throws HandlerError `NOT_READY` when the server stops.
 */
async function writeChanges(
  service: string,
  watch: StatusWatch<Statuses>,
  { signal, write }: WatchStream,
  stopping: AbortSignal,
): Promise<void> {
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
}
