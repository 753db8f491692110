import type { Attributes, Context, Tracer } from '@opentelemetry/api';
import type Handler from '../../app.ts';
import type { RequestEvents } from '../../pipeline/infer-request.ts';
import type { OnStage } from '../../pipeline/stages.ts';
import type { Log } from './log.ts';
import { version } from './version.ts';

/** Spans of requests, if OpenTelemetry's API is installed and an SDK collects them: docs/decisions/0019-tracing.md. */

type Api = typeof import('@opentelemetry/api');

const API_PACKAGE = '@opentelemetry/api';
const SCOPE = 'blip-handler';

/** Shorter waits get no span, because a request that does not wait at all still measures microseconds. */
const NOTICED_WAIT_MS = 1;

/** The key that `suppressTracing` of @opentelemetry/core sets. It has no other name for those who import the API alone. */
const SUPPRESSED_KEY = 'OpenTelemetry SDK Context Key SUPPRESS_TRACING';

/** OpenTelemetry's API, which may not be installed. */
class OptionalApi {
  #api: Api | undefined;
  #loading: Promise<void> | undefined;

  /** `undefined` before the API is loaded, and where it does not load. */
  get loaded(): Api | undefined {
    return this.#api;
  }

  /** Loads the API once, however often it is called. Logs an API that is installed and does not load. */
  load(log: Pick<Log, 'error'>): Promise<void> {
    this.#loading ??= this.#import(log);
    return this.#loading;
  }

  async #import(log: Pick<Log, 'error'>): Promise<void> {
    try {
      this.#api = await import('@opentelemetry/api');
    } catch (thrown) {
      if (!isNotInstalled(thrown))
        log.error({ err: thrown }, `${API_PACKAGE} is installed and does not load: no spans`);
    }
  }
}

/** Whether the package itself was not found. If only a part of it or a dependency is missing, the message names that. */
function isNotInstalled(thrown: unknown): boolean {
  if (!(thrown instanceof Error) || !('code' in thrown) || thrown.code !== 'ERR_MODULE_NOT_FOUND') return false;
  return thrown.message.includes(`'${API_PACKAGE}'`);
}

/** The process has one API, because it has one SDK. */
const processApi = new OptionalApi();

/** Loads OpenTelemetry's API if it is installed, once for all servers of the process. Logs a failure to load. */
export async function loadTracing(log: Pick<Log, 'error'>): Promise<void> {
  await processApi.load(log);
}

/** A request as its span begins. OpenTelemetry's semantic conventions give the name and the attributes. */
export interface TracedRequest {
  readonly name: string;
  readonly attributes: Attributes;
  /** Headers or metadata, from which propagators read the caller's context. */
  readonly headers: Readonly<Record<string, unknown>>;
}

/** The span of a request. */
export interface RequestSpan {
  /** `undefined` without an SDK. */
  readonly traceId: string | undefined;
  /** Makes spans of the stages of a question to a model; `undefined` if nobody collects them. */
  readonly eventsOf: (model: Handler) => RequestEvents | undefined;
  /** Sets the code of the error that the request fails with; the last call counts. */
  readonly setError: (code: string) => void;
  /** Ends the span, because the request was answered or its client left. @param isFault whether the server is at fault. */
  readonly end: (attributes: Attributes, isFault: boolean) => void;
}

/**
 * Begins the span of a request, inside the span of its caller.
 * @returns `undefined` if the API is not loaded.
 */
export function startRequestSpan({ name, attributes, headers }: TracedRequest): RequestSpan | undefined {
  const api = processApi.loaded;
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

/** The context of a request's span, from its headers. Where Node's HTTP is instrumented, that has read them already. */
function callerOf({ context, propagation, SpanKind, trace }: Api, headers: TracedRequest['headers']) {
  const active = context.active();
  if (trace.getSpan(active) !== undefined) return { parent: active, kind: SpanKind.INTERNAL };
  return { parent: propagation.extract(active, headers), kind: SpanKind.SERVER };
}

/** The context that all stages of a request to a model share. */
interface StageContext extends Pick<Api, 'SpanStatusCode'> {
  readonly tracer: Tracer;
  readonly inside: Context;
  readonly ofModel: Attributes;
  readonly epochMs: EpochClock;
}

/** Makes a span of each stage that is reported. */
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

/** A clock for one request. `performance.now()` ignores corrections of the system's clock: each request reads that anew. */
function epochClock(): EpochClock {
  const originMs = Date.now() - performance.now();
  return (nowMs) => originMs + nowMs;
}

function modelAttributes({ name = '', model }: Handler): Attributes {
  return { 'blip.model.name': name, ...(model === undefined ? {} : { 'blip.task': model.checkpoint.task }) };
}

/**
 * Does work that other instrumentations make no spans of, and that sends no trace to the hosts that it asks: images come
 * from strangers.
 */
export async function untraced<T>(work: () => Promise<T>): Promise<T> {
  const api = processApi.loaded;
  if (api === undefined) return await work();
  const { context, createContextKey } = api;
  const suppressed = context.active().setValue(createContextKey(SUPPRESSED_KEY), true);
  return await context.with(suppressed, work);
}
