import type { Attributes, Context, Tracer } from '@opentelemetry/api';
import type InferlessModel from '../../app.ts';
import type { RequestEvents } from '../../pipeline/infer-request.ts';
import type { OnStage } from '../../pipeline/stages.ts';
import { version } from './version.ts';

/** Spans of requests, where OpenTelemetry's API is installed and an SDK takes them: docs/decisions/0019-tracing.md. */

type Api = typeof import('@opentelemetry/api');

const API_PACKAGE = '@opentelemetry/api';
const SCOPE = 'blip-handler';

/** A wait that is shorter is none: whoever does not wait at all has one of microseconds. */
const NOTICED_WAIT_MS = 1;

/** What `suppressTracing` of @opentelemetry/core sets, by the only name that it has for whoever imports the API alone. */
const SUPPRESSED_KEY = 'OpenTelemetry SDK Context Key SUPPRESS_TRACING';

/** One for the process, as the SDK is; `undefined` before it is loaded, and where there is none. */
let api: Api | undefined;
let loading: Promise<void> | undefined;

/** What is told of an API that is there, and cannot be used. */
interface Log {
  readonly error: (details: object, message: string) => void;
}

/** Loads OpenTelemetry's API where it is installed; once, however many doors ask. One that does not load, the log is told. */
export async function loadTracing(log: Log): Promise<void> {
  loading ??= importApi(log);
  await loading;
}

async function importApi(log: Log): Promise<void> {
  try {
    api = await import('@opentelemetry/api');
  } catch (thrown) {
    if (!isNotInstalled(thrown)) log.error({ err: thrown }, `${API_PACKAGE} is installed and does not load: no spans`);
  }
}

/** Whether the package itself was not found: a file of it, or a package that it needs, has another name in the message. */
function isNotInstalled(thrown: unknown): boolean {
  if (!(thrown instanceof Error) || !('code' in thrown) || thrown.code !== 'ERR_MODULE_NOT_FOUND') return false;
  return thrown.message.includes(`'${API_PACKAGE}'`);
}

/** A request as a span begins with it, named and described by OpenTelemetry's semantic conventions. */
export interface TracedRequest {
  readonly name: string;
  readonly attributes: Attributes;
  /** Headers or metadata: what propagators read the caller's context from. */
  readonly headers: Readonly<Record<string, unknown>>;
}

/** The span of a request. */
export interface RequestSpan {
  /** `undefined` where no SDK has given it one. */
  readonly traceId: string | undefined;
  /** Makes spans of the stages of a request to the model; `undefined` where nobody takes them. */
  readonly eventsOf: (model: InferlessModel) => RequestEvents | undefined;
  /** Says with which of our codes the request fails; the last counts. */
  readonly setError: (code: string) => void;
  /** It is answered, or was left. @param isFault whether its status is one of those that a server is to blame for. */
  readonly end: (attributes: Attributes, isFault: boolean) => void;
}

/**
 * Begins the span of a request, inside that of its caller.
 * @returns `undefined` where the API is not loaded.
 */
export function startRequestSpan({ name, attributes, headers }: TracedRequest): RequestSpan | undefined {
  if (api === undefined) return undefined;
  const { isValidTraceId, SpanStatusCode, trace } = api;
  const tracer = trace.getTracer(SCOPE, version);
  const epochMs = epochClock();
  const { parent, kind } = callerOf(api, headers);
  const span = tracer.startSpan(name, { kind, attributes, startTime: epochMs(performance.now()) }, parent);
  const { traceId } = span.spanContext();
  return {
    traceId: isValidTraceId(traceId) ? traceId : undefined,
    eventsOf(model) {
      if (!span.isRecording()) return undefined;
      const ofModel = modelAttributes(model);
      span.setAttributes(ofModel);
      return {
        stage: stageRecorder({ tracer, inside: trace.setSpan(parent, span), ofModel, epochMs, SpanStatusCode }),
      };
    },
    setError: (code) => void span.setAttribute('error.type', code),
    end(atEnd, isFault) {
      span.setAttributes(atEnd);
      if (isFault) span.setStatus({ code: SpanStatusCode.ERROR });
      span.end(epochMs(performance.now()));
    },
  };
}

/** The context that a request's span belongs in: that of its headers, unless Node's HTTP is instrumented, which read them. */
function callerOf({ context, propagation, SpanKind, trace }: Api, headers: TracedRequest['headers']) {
  const active = context.active();
  if (trace.getSpan(active) !== undefined) return { parent: active, kind: SpanKind.INTERNAL };
  return { parent: propagation.extract(active, headers), kind: SpanKind.SERVER };
}

/** What all stages of a request to a model have. */
interface StageContext extends Pick<Api, 'SpanStatusCode'> {
  readonly tracer: Tracer;
  readonly inside: Context;
  readonly ofModel: Attributes;
  readonly epochMs: EpochClock;
}

/** Makes a span of each stage that is told of. */
function stageRecorder({ tracer, inside, ofModel, epochMs, SpanStatusCode }: StageContext): OnStage {
  return ({ name, startMs, endMs, itemCount, error }) => {
    if (name === 'queue' && error === undefined && endMs - startMs < NOTICED_WAIT_MS) return;
    const attributes = {
      ...ofModel,
      ...(itemCount === undefined ? {} : { 'blip.batch.size': itemCount }),
      ...(error === undefined ? {} : { 'error.type': error.code }),
    };
    const span = tracer.startSpan(name, { attributes, startTime: epochMs(startMs) }, inside);
    if (error !== undefined) span.setStatus({ code: SpanStatusCode.ERROR });
    span.end(epochMs(endMs));
  };
}

/** Milliseconds since 1970 of a time of `performance.now()`. */
type EpochClock = (nowMs: number) => number;

/** A clock for one request: what is set right while a process runs, its `performance.now()` does not know of. */
function epochClock(): EpochClock {
  const originMs = Date.now() - performance.now();
  return (nowMs) => originMs + nowMs;
}

function modelAttributes({ name = '', model }: InferlessModel): Attributes {
  return { 'blip.model.name': name, ...(model === undefined ? {} : { 'blip.task': model.checkpoint.task }) };
}

/**
 * Does work of which other instrumentations make no spans, and which tells the hosts that it asks nothing of the trace:
 * images are strangers'.
 */
export async function untraced<T>(work: () => Promise<T>): Promise<T> {
  if (api === undefined) return await work();
  const { context, createContextKey } = api;
  const suppressed = context.active().setValue(createContextKey(SUPPRESSED_KEY), true);
  return await context.with(suppressed, work);
}
