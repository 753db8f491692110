import {
  type Metadata,
  ResponderBuilder,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  ServerListenerBuilder,
  status as statusNames,
} from '@grpc/grpc-js';
import { HandlerError } from '../../protocol/errors.ts';
import type { Admission } from '../admission.ts';
import type { Log } from './log.ts';
import { ERROR_CODE_KEY, namedStatus, reported, statusOf } from './statuses.ts';

/** A request must have arrived whole by then; else one that drips stays open for ever. */
const REQUEST_TIMEOUT_MS = 60_000;

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
  /** Does what a call asks, and stops counting it when that is done: also when its client has left before. */
  readonly handle: <T>(metadata: Metadata, work: () => Promise<T>) => Promise<T>;
  /** Does what one request of a stream asks, and counts it meanwhile. */
  readonly handleStreamed: <T>(metadata: Metadata, work: () => Promise<T>) => Promise<T>;
}

/** @param guardedPaths of the methods that ask a model; all others are open, as probes have no token. */
export function createGuard(admission: Admission, guardedPaths: ReadonlySet<string>, log: Log): CallGuard {
  const admitted = new WeakMap<Metadata, Admitted>();
  const admit = (metadata: Metadata, isStream: boolean): Admitted => {
    const [authorization] = metadata.get('authorization');
    const token = admission.checkToken(authorization?.toString());
    const entry = { token, isHandled: false, leave: isStream ? () => undefined : admission.enter(token) };
    admitted.set(metadata, entry);
    return entry;
  };
  return {
    interceptor(method, call) {
      const ending = reportEnd(call, method.path, log);
      let entry: Admitted | undefined;
      let timer: NodeJS.Timeout | undefined;
      const listener = new ServerListenerBuilder()
        .withOnReceiveMetadata((metadata, next) => {
          try {
            if (guardedPaths.has(method.path)) entry = admit(metadata, method.requestStream);
          } catch (thrown) {
            call.sendStatus(statusOf(reported(thrown, log)));
            return;
          }
          ending.setToken(entry?.token);
          if (!method.requestStream) timer = timeOut(call);
          next(metadata);
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
  };
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

interface Ending {
  /** Whose call it is, for the log. */
  readonly setToken: (token: string | undefined) => void;
  /** It is over, with a status or without. */
  readonly closed: () => void;
}

/**
 * Gives every status of a call our code, and logs how the call ended. grpc-js sends the statuses that it makes itself
 * past all interceptors, so the call that they start from is taken hold of.
 */
function reportEnd(call: ServerInterceptingCallInterface, path: string, log: Log): Ending {
  const startMs = performance.now();
  const send = call.sendStatus.bind(call);
  let isLogged = false;
  let tokenDigest: string | undefined;
  const report = (status: string, errorCode: string | undefined) => {
    if (isLogged) return;
    isLogged = true;
    const responseTime = performance.now() - startMs;
    log.info({ grpc: { path, status, errorCode }, tokenDigest, responseTime }, 'call completed');
  };
  call.sendStatus = (given) => {
    const { code = statusNames.UNKNOWN, details = '', metadata = null } = given;
    const named = namedStatus({ code, details, metadata }, log);
    report(statusNames[named.code] ?? String(named.code), named.metadata?.get(ERROR_CODE_KEY)[0]?.toString());
    send(named);
  };
  return {
    setToken: (token) => {
      tokenDigest = token;
    },
    closed: () => report('CANCELLED', undefined),
  };
}
