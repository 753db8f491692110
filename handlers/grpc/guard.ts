import {
  type Metadata,
  ResponderBuilder,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  ServerListenerBuilder,
} from '@grpc/grpc-js';
import { HandlerError } from '../../protocol/errors.ts';
import type { Admission } from '../service/admission.ts';
import { AdmittedRequest } from '../service/admitted-request.ts';
import type { ConnectionTable } from '../service/connection-table.ts';
import type { Log } from '../service/log.ts';
import type { Metrics } from '../service/metrics.ts';
import { CallLimit } from './call-limit.ts';
import { type CallRecord, CallReport } from './call-report.ts';
import type { ReceivedMessage } from './codec.ts';
import { ReceivedBytes } from './received-bytes.ts';
import { reported, statusOf } from './statuses.ts';

/** The whole request must arrive within this time; otherwise a request that trickles in would stay open for ever. */
const REQUEST_TIMEOUT_MS = 60_000;

/** The most open calls that need no token, such as watches of health; and the most calls whose messages still arrive. */
const MAX_OPEN_CALLS = 1_024;
const MAX_ARRIVING_CALLS = 1_024;

export interface GuardOptions {
  readonly admission: Admission;
  /** Paths of the methods that ask a model. All others are open, because probes have no token. */
  readonly guardedPaths: ReadonlySet<string>;
  /** The most bytes that a message to an open method is decompressed to. */
  readonly maxOpenBytes: number;
  readonly log: Log;
  /** Gets to know which connections wait for an answer of a model. */
  readonly connections: Pick<ConnectionTable, 'begin' | 'end'>;
  /** Counts answers. */
  readonly metrics?: Promise<Metrics> | undefined;
}

/**
 * The guard of all calls of a server. It lets a call that asks a model in before the message is read, so that strangers
 * cannot make the server read one.
 */
export class CallGuard {
  readonly #options: GuardOptions;
  readonly #admittedCalls = new WeakMap<Metadata, AdmittedRequest>();
  readonly #records = new WeakMap<Metadata, CallRecord>();
  readonly #openCalls = new CallLimit(MAX_OPEN_CALLS);
  readonly #arrivingCalls = new CallLimit(MAX_ARRIVING_CALLS);

  constructor(options: GuardOptions) {
    this.#options = options;
  }

  readonly interceptor: ServerInterceptor = ({ path, requestStream: isStream }, call) => {
    const { guardedPaths, maxOpenBytes, log, metrics } = this.#options;
    const isGuarded = guardedPaths.has(path);
    const report = new CallReport(call, path, { log, metrics });
    const refuse = (thrown: unknown) => call.sendStatus(statusOf(reported(thrown, log)));
    let received: ReceivedBytes | undefined;
    let leave = () => {};
    let timer: NodeJS.Timeout | undefined;
    if (!isGuarded) limitDecompressed(call, maxOpenBytes);
    const listener = new ServerListenerBuilder()
      .withOnReceiveMetadata((metadata, next) => {
        const record = report.identify(metadata);
        this.#records.set(metadata, record);
        leave = this.#enter(call, isGuarded);
        try {
          if (isGuarded) {
            const admitted = this.#admit(metadata, isStream);
            report.setToken(admitted.token);
            received = new ReceivedBytes(call, admitted, isStream, refuse);
          }
        } catch (thrown) {
          call.sendStatus(statusOf(reported(thrown, record.log)));
          return;
        }
        if (!isGuarded || !isStream) timer = timeOut(call); // Streams that ask models may wait: they have a token.
        next(metadata);
      })
      .withOnReceiveMessage((message: ReceivedMessage, next) => {
        if (isStream) timer?.refresh(); // The time starts again with each message.
        if (received?.accept(message) !== false) next(message);
      })
      .withOnReceiveHalfClose((next) => {
        clearTimeout(timer);
        this.#arrivingCalls.delete(call);
        next();
      })
      .withOnCancel(() => {
        clearTimeout(timer);
        report.close();
        leave();
        received?.leave(); // Its message was refused, or never arrived completely.
      })
      .build();
    return new ServerInterceptingCall(call, new ResponderBuilder().withStart((next) => next(listener)).build());
  };

  /** Counts a call among the open ones. @returns a function for its end; calls after the first do nothing. */
  #enter(call: ServerInterceptingCallInterface, isGuarded: boolean): () => void {
    const { connections } = this.#options;
    const calls = isGuarded ? this.#arrivingCalls : this.#openCalls;
    const message = 'Expected fewer calls to be open at a time, got more: the oldest one ends. Call again.';
    calls.add(call, () => call.sendStatus(statusOf(new HandlerError('OVERLOADED', message))));
    const peer = call.getPeer();
    if (isGuarded) connections.begin(peer);
    let hasLeft = false;
    return () => {
      if (hasLeft) return;
      hasLeft = true;
      calls.delete(call);
      if (isGuarded) connections.end(peer);
    };
  }

  /** Does the work of a call, and counts it until `work` settles. With a client that leaves, that is at once. */
  async handle<T>(metadata: Metadata, work: () => Promise<T>): Promise<T> {
    return await this.#requireAdmitted(metadata).handle(work);
  }

  /**
   * Does the work of one request of a stream, and counts that request, and the bytes of its message, meanwhile.
   * @throws HandlerError `OVERLOADED`, and whatever `work` rejects with.
   */
  async handleStreamed<T>(metadata: Metadata, lengthBytes: number, work: () => Promise<T>): Promise<T> {
    const admitted = this.#options.admission.admit(this.#requireAdmitted(metadata).token);
    return await admitted.handle(async () => {
      admitted.body.hold(lengthBytes);
      return await work();
    });
  }

  /** Where a call is logged and traced. */
  recordOf(metadata: Metadata): CallRecord {
    return this.#records.get(metadata) ?? { log: this.#options.log, span: undefined };
  }

  /** The name of the token of an admitted call; `undefined` where there are no tokens. */
  tokenOf(metadata: Metadata): string | undefined {
    return this.#requireAdmitted(metadata).token;
  }

  /** Streams are not counted themselves: each of their requests is. */
  #admit(metadata: Metadata, isStream: boolean): AdmittedRequest {
    const { admission } = this.#options;
    const [authorization] = metadata.get('authorization');
    const token = admission.checkToken(authorization?.toString());
    const admitted = isStream
      ? new AdmittedRequest(token, () => undefined, admission.holdBytes(token))
      : admission.admit(token);
    this.#admittedCalls.set(metadata, admitted);
    return admitted;
  }

  #requireAdmitted(metadata: Metadata): AdmittedRequest {
    const admitted = this.#admittedCalls.get(metadata);
    if (admitted === undefined) throw new RangeError('Expected a call that was admitted.');
    return admitted;
  }
}

/**
 * Lowers the limit of one call. grpc-js has one limit for all methods, up to which it would decompress a stranger's
 * message; a call keeps it in this property. If a later version renames it, the decoder still refuses a large message.
 */
function limitDecompressed(call: ServerInterceptingCallInterface, maxBytes: number): void {
  if ('maxReceiveMessageSize' in call) call.maxReceiveMessageSize = maxBytes;
}

function timeOut(call: ServerInterceptingCallInterface): NodeJS.Timeout {
  return setTimeout(() => {
    const message = `Expected the whole request within ${REQUEST_TIMEOUT_MS} ms, got part of it.`;
    call.sendStatus(statusOf(new HandlerError('REQUEST_TIMEOUT', message)));
  }, REQUEST_TIMEOUT_MS);
}
