import { Readable } from 'node:stream';
import { Metadata, type ServerInterceptingCallInterface, status as statusNames } from '@grpc/grpc-js';
import type { Log } from '../service/log.ts';
import type { Metrics } from '../service/metrics.ts';
import { requestIdFrom, traceIdFrom } from '../service/request-identity.ts';
import { type RequestSpan, startRequestSpan } from '../service/tracing.ts';
import { ERROR_CODE_KEY, type PartialStatus, withErrorCode } from './statuses.ts';

/** Metadata with the id of a call, in the request as in the answer. */
const REQUEST_ID_KEY = 'x-request-id';

/** Statuses that count as faults of the server. Source: OpenTelemetry's semantic conventions for gRPC. */
const serverFaults: ReadonlySet<number> = new Set([
  statusNames.UNKNOWN,
  statusNames.DEADLINE_EXCEEDED,
  statusNames.UNIMPLEMENTED,
  statusNames.INTERNAL,
  statusNames.UNAVAILABLE,
  statusNames.DATA_LOSS,
]);

/** Where a call is recorded. */
export interface CallRecord {
  /** Its lines have the id of the call, and its trace. */
  readonly log: Log;
  /** `undefined` where there are no spans. */
  readonly span: RequestSpan | undefined;
}

type SentStatus = Parameters<ServerInterceptingCallInterface['sendStatus']>[0];

interface ReportOptions {
  readonly log: Log;
  /** Counts answers; `undefined` where nobody does. */
  readonly metrics: Promise<Metrics> | undefined;
}

/**
 * The end of one call: gives every status our error code and the call's id, and logs, counts and traces it. grpc-js sends
 * its own statuses past all interceptors, so this takes over `sendStatus` of the innermost call.
 */
export class CallReport {
  readonly #path: string;
  readonly #metrics: Promise<Metrics> | undefined;
  readonly #startMs = performance.now();
  #isReported = false;
  #log: Log;
  #span: RequestSpan | undefined;
  #requestId: string | undefined;
  #tokenDigest: string | undefined;

  constructor(call: ServerInterceptingCallInterface, path: string, { log, metrics }: ReportOptions) {
    this.#path = path;
    this.#log = log;
    this.#metrics = metrics;
    const send = call.sendStatus.bind(call);
    call.sendStatus = (status) => {
      if (isAborted(call)) this.close(); // grpc-js says that a message is missing.
      send(this.#complete(status));
    };
  }

  /** Reads the id and the trace of a call, by which it is logged from here on. */
  identify(metadata: Metadata): CallRecord {
    this.#requestId = requestIdFrom(metadata.get(REQUEST_ID_KEY)[0]);
    this.#span = startRequestSpan({ ...descriptionOf(this.#path), headers: metadata.getMap() });
    const traceId = this.#span?.traceId ?? traceIdFrom(metadata.get('traceparent')[0]);
    this.#log = this.#log.child({ reqId: this.#requestId, ...(traceId === undefined ? {} : { traceId }) });
    return { log: this.#log, span: this.#span };
  }

  /** Logs the call with its token. */
  setToken(token: string | undefined): void {
    this.#tokenDigest = token;
  }

  /** The call is over, with a status or without. */
  close(): void {
    this.#report(statusNames.CANCELLED, undefined);
  }

  #complete({ code = statusNames.UNKNOWN, details = '', metadata = null }: SentStatus): PartialStatus {
    const status = withErrorCode({ code, details, metadata }, this.#log);
    const trailers = status.metadata ?? new Metadata();
    if (this.#requestId !== undefined) trailers.set(REQUEST_ID_KEY, this.#requestId);
    this.#report(status.code, trailers.get(ERROR_CODE_KEY)[0]?.toString());
    return { ...status, metadata: trailers };
  }

  #report(code: number, errorCode: string | undefined): void {
    if (this.#isReported) return;
    this.#isReported = true;
    const responseTime = performance.now() - this.#startMs;
    const status = statusNames[code] ?? String(code);
    if (code !== statusNames.OK) this.#span?.setError(errorCode ?? status);
    this.#span?.end({ 'rpc.status_code': status }, serverFaults.has(code));
    const grpc = { path: this.#path, status, errorCode };
    this.#log.info({ grpc, tokenDigest: this.#tokenDigest, responseTime }, 'call completed');
    // A failure to load the metrics is reported to those who ask for them.
    this.#metrics?.then(({ countAnswer }) => countAnswer('grpc', code)).catch(() => undefined);
  }
}

/** Whether the client hung up. grpc-js keeps the stream in this property; a later version may rename it. */
function isAborted(call: ServerInterceptingCallInterface): boolean {
  return 'stream' in call && call.stream instanceof Readable && call.stream.destroyed;
}

/** The name and attributes of a call's span. Unknown methods never come here, so there are few names. */
function descriptionOf(path: string) {
  const method = path.slice(1);
  return { name: method, attributes: { 'rpc.system.name': 'grpc', 'rpc.method': method } };
}
