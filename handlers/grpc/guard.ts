import {
  Metadata,
  ResponderBuilder,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  ServerListenerBuilder,
  status as statusNames,
} from '@grpc/grpc-js';
import { HandlerError } from '../../protocol/errors.ts';
import type { Admission } from '../service/admission.ts';
import type { Metrics } from '../service/metrics.ts';
import { requestIdFrom, traceIdFrom } from '../service/request-identity.ts';
import { type RequestSpan, startRequestSpan } from '../service/tracing.ts';
import type { Log } from './log.ts';
import { ERROR_CODE_KEY, namedStatus, reported, statusOf } from './statuses.ts';

/** A request must have arrived whole by then; else one that drips stays open for ever. */
const REQUEST_TIMEOUT_MS = 60_000;

/** Metadata with the id of a call: of its client's choice, or in the answer. */
const REQUEST_ID_KEY = 'x-request-id';

/** Statuses that a server is to blame for. Source: OpenTelemetry's semantic conventions for gRPC. */
const faults: ReadonlySet<number> = new Set([
  statusNames.UNKNOWN,
  statusNames.DEADLINE_EXCEEDED,
  statusNames.UNIMPLEMENTED,
  statusNames.INTERNAL,
  statusNames.UNAVAILABLE,
  statusNames.DATA_LOSS,
]);

/** A call that may ask the models. */
interface Admitted {
  readonly token: string | undefined;
  isHandled: boolean;
  /** Stops counting; once, however often it is called. Streams count each request instead. */
  readonly leave: () => void;
}

/**
 * The guard of every call. What asks a model is let in before its message is read, so that strangers cannot make the
 * server read one.
 */
export interface CallGuard {
  readonly interceptor: ServerInterceptor;
  /** Does what a call asks, and counts it until `work` settles: with a client that leaves, that is at once. */
  readonly handle: <T>(metadata: Metadata, work: () => Promise<T>) => Promise<T>;
  /**
   * Does what one request of a stream asks, and counts it meanwhile.
   * @throws HandlerError `OVERLOADED`, and whatever `work` rejects with.
   */
  readonly handleStreamed: <T>(metadata: Metadata, work: () => Promise<T>) => Promise<T>;
  /** The log of a call: its lines say the call's id, and its trace. */
  readonly logOf: (metadata: Metadata) => Log;
  /** The span of a call; `undefined` where there are none. */
  readonly spanOf: (metadata: Metadata) => RequestSpan | undefined;
}

export interface GuardOptions {
  readonly admission: Admission;
  /** Paths of the methods that ask a model; all others are open, as probes have no token. */
  readonly guardedPaths: ReadonlySet<string>;
  /** The most bytes that a message to an open method is decompressed to. */
  readonly maxOpenBytes: number;
  readonly log: Log;
  /** Where answers are counted. */
  readonly metrics?: Promise<Metrics> | undefined;
}

/** The guard of a server's calls. */
export function createGuard({ admission, guardedPaths, maxOpenBytes, log, metrics }: GuardOptions): CallGuard {
  const admitted = new WeakMap<Metadata, Admitted>();
  const logs = new WeakMap<Metadata, Log>();
  const spans = new WeakMap<Metadata, RequestSpan>();
  const admit = (metadata: Metadata, isStream: boolean): Admitted => {
    const [authorization] = metadata.get('authorization');
    const token = admission.checkToken(authorization?.toString());
    const entry = { token, isHandled: false, leave: isStream ? () => undefined : admission.enter(token) };
    admitted.set(metadata, entry);
    return entry;
  };
  return {
    interceptor({ path, requestStream }, call) {
      const isGuarded = guardedPaths.has(path);
      const ending = reportEnd(call, path, { log, metrics });
      let entry: Admitted | undefined;
      let timer: NodeJS.Timeout | undefined;
      if (!isGuarded) limitDecompressed(call, maxOpenBytes);
      const listener = new ServerListenerBuilder()
        .withOnReceiveMetadata((metadata, next) => {
          const { log: callLog, span } = ending.identify(metadata);
          logs.set(metadata, callLog);
          if (span !== undefined) spans.set(metadata, span);
          try {
            if (isGuarded) entry = admit(metadata, requestStream);
          } catch (thrown) {
            call.sendStatus(statusOf(reported(thrown, callLog)));
            return;
          }
          ending.setToken(entry?.token);
          if (!isGuarded || !requestStream) timer = timeOut(call); // Streams that ask models may wait: they have a token.
          next(metadata);
        })
        .withOnReceiveMessage((message, next) => {
          if (requestStream) timer?.refresh(); // Each message has its time.
          next(message);
        })
        .withOnReceiveHalfClose((next) => {
          clearTimeout(timer);
          next();
        })
        .withOnCancel(() => {
          clearTimeout(timer);
          ending.closed();
          if (entry?.isHandled === false) entry.leave(); // Its message was refused, or never came whole.
        })
        .build();
      return new ServerInterceptingCall(call, new ResponderBuilder().withStart((next) => next(listener)).build());
    },
    async handle(metadata, work) {
      const entry = admitted.get(metadata);
      if (entry !== undefined) entry.isHandled = true;
      try {
        return await work();
      } finally {
        entry?.leave();
      }
    },
    async handleStreamed(metadata, work) {
      const leave = admission.enter(admitted.get(metadata)?.token);
      try {
        return await work();
      } finally {
        leave();
      }
    },
    logOf: (metadata) => logs.get(metadata) ?? log,
    spanOf: (metadata) => spans.get(metadata),
  };
}

/**
 * grpc-js has one limit for all methods, and would decompress a stranger's message up to it; a call of its own has it in
 * this property. Whatever a later version calls it, the decoder of the message refuses what is too large.
 */
function limitDecompressed(call: ServerInterceptingCallInterface, maxBytes: number): void {
  if ('maxReceiveMessageSize' in call) call.maxReceiveMessageSize = maxBytes;
}

function timeOut(call: ServerInterceptingCallInterface): NodeJS.Timeout {
  return setTimeout(() => {
    call.sendStatus(
      statusOf(
        new HandlerError(
          'REQUEST_TIMEOUT',
          `Expected the whole request within ${REQUEST_TIMEOUT_MS} ms, got part of it.`,
        ),
      ),
    );
  }, REQUEST_TIMEOUT_MS);
}

/** A call as its span begins. Only methods that there are come here, so that their names are few. */
function descriptionOf(path: string) {
  const method = path.slice(1);
  return { name: method, attributes: { 'rpc.system.name': 'grpc', 'rpc.method': method } };
}

interface Ending {
  /** Says by which id and trace the call is logged. @returns its log, and its span where there are any. */
  readonly identify: (metadata: Metadata) => { readonly log: Log; readonly span: RequestSpan | undefined };
  /** Whose call it is, for the log. */
  readonly setToken: (token: string | undefined) => void;
  /** It is over, with a status or without. */
  readonly closed: () => void;
}

/**
 * Gives every status of a call our code and the call's id, and logs, counts and traces how the call ended. grpc-js sends
 * the statuses that it makes itself past all interceptors, so the call that they start from is taken hold of.
 */
function reportEnd(
  call: ServerInterceptingCallInterface,
  path: string,
  { log, metrics }: Pick<GuardOptions, 'log' | 'metrics'>,
): Ending {
  const startMs = performance.now();
  const send = call.sendStatus.bind(call);
  let isReported = false;
  let callLog = log;
  let span: RequestSpan | undefined;
  let requestId: string | undefined;
  let tokenDigest: string | undefined;
  const report = (code: number, errorCode: string | undefined) => {
    if (isReported) return;
    isReported = true;
    const responseTime = performance.now() - startMs;
    const status = statusNames[code] ?? String(code);
    if (code !== statusNames.OK) span?.setError(errorCode ?? status);
    span?.end({ 'rpc.status_code': status }, faults.has(code));
    callLog.info({ grpc: { path, status, errorCode }, tokenDigest, responseTime }, 'call completed');
    metrics?.then(({ countAnswer }) => countAnswer('grpc', code)).catch(() => undefined); // Those who ask for them hear why.
  };
  call.sendStatus = (given) => {
    const { code = statusNames.UNKNOWN, details = '', metadata = null } = given;
    const named = namedStatus({ code, details, metadata }, callLog);
    const trailers = named.metadata ?? new Metadata();
    if (requestId !== undefined) trailers.set(REQUEST_ID_KEY, requestId);
    report(named.code, trailers.get(ERROR_CODE_KEY)[0]?.toString());
    send({ ...named, metadata: trailers });
  };
  return {
    identify(metadata) {
      requestId = requestIdFrom(metadata.get(REQUEST_ID_KEY)[0]);
      span = startRequestSpan({ ...descriptionOf(path), headers: metadata.getMap() });
      const traceId = span?.traceId ?? traceIdFrom(metadata.get('traceparent')[0]);
      callLog = log.child({ reqId: requestId, ...(traceId === undefined ? {} : { traceId }) });
      return { log: callLog, span };
    },
    setToken: (token) => {
      tokenDigest = token;
    },
    closed: () => report(statusNames.CANCELLED, undefined),
  };
}
