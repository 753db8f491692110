import { once } from 'node:events';
import type {
  DescMessage,
  DescMethodBiDiStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from '@bufbuild/protobuf';
import type {
  Deadline,
  handleBidiStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  Metadata,
  Server,
  ServerDuplexStream,
  ServerWritableStream,
  StatusObject,
} from '@grpc/grpc-js';
import { HandlerError } from '../../protocol/errors.ts';
import type { Log } from '../service/log.ts';
import type { CallRecord } from './call-report.ts';
import { type DecoderOptions, decoder, encoder, type Received, requireMessage } from './codec.ts';
import { deadlineError, reported, statusOf } from './statuses.ts';

/** Methods of services. Their descriptions type them: the .proto files say the messages of each. */

export interface Call {
  readonly metadata: Metadata;
  /** Aborts when nobody waits for the answer any more. The reason is a HandlerError. */
  readonly signal: AbortSignal;
}

/** The server that methods are added to, and what all of them need. */
export interface MethodContext extends DecoderOptions {
  readonly server: Server;
  /** Where a call is logged and traced. */
  readonly recordOf: (metadata: Metadata) => CallRecord;
  /** Aborts when the server has stopped accepting. Open streams end then. */
  readonly stopping: AbortSignal;
}

/** Adds a method of one request and one answer. A call that was cancelled, or whose deadline has passed, gets no answer. */
export function addUnary<Input extends DescMessage, Output extends DescMessage>(
  { server, recordOf, ...limits }: MethodContext,
  method: DescMethodUnary<Input, Output>,
  answer: (request: MessageShape<Input>, call: Call) => MessageInitShape<Output> | Promise<MessageInitShape<Output>>,
): void {
  const handle: handleUnaryCall<Received<Input>, MessageInitShape<Output>> = async (call, callback) => {
    const signal = abandonment(call);
    try {
      signal.throwIfAborted();
      const message = await answer(requireMessage(call.request), { metadata: call.metadata, signal });
      if (!signal.aborted) callback(null, message);
    } catch (thrown) {
      if (!signal.aborted) callback(statusOf(reported(thrown, recordOf(call.metadata).log)));
    }
  };
  server.register(pathOf(method), handle, encoder(method.output), decoder(method.input, limits), 'unary');
}

/** The server's side of a stream. */
export interface Stream<Input extends DescMessage, Output extends DescMessage> extends Call {
  /**
   * Resolves with the next request, or with `undefined` after the last.
   * @throws HandlerError `NOT_READY` when the server stops.
   */
  readonly next: () => Promise<Received<Input> | undefined>;
  /** Resolves when there is room for another message. */
  readonly write: (message: MessageInitShape<Output>) => Promise<void>;
}

/** Adds a method of any number of requests and answers. A call ends when `serve` does, with the error that it throws. */
export function addBidirectional<Input extends DescMessage, Output extends DescMessage>(
  { server, recordOf, stopping, ...limits }: MethodContext,
  method: DescMethodBiDiStreaming<Input, Output>,
  serve: (stream: Stream<Input, Output>) => Promise<void>,
): void {
  const handle: handleBidiStreamingCall<Received<Input>, MessageInitShape<Output>> = async (call) => {
    const signal = abandonment(call);
    const requests: AsyncIterator<Received<Input>, undefined> = call.iterator({ destroyOnReturn: false });
    const next = async () => (await unlessStopped(requests.next(), stopping)).value;
    await endWith(call, signal, recordOf(call.metadata).log, () =>
      serve({ metadata: call.metadata, signal, next, write: writer(call, signal) }),
    );
  };
  server.register(pathOf(method), handle, encoder(method.output), decoder(method.input, limits), 'bidi');
}

/** Adds a method of one request and any number of answers. */
export function addServerStream<Input extends DescMessage, Output extends DescMessage>(
  { server, recordOf, ...limits }: MethodContext,
  method: DescMethodServerStreaming<Input, Output>,
  serve: (request: MessageShape<Input>, stream: Omit<Stream<Input, Output>, 'next'>) => Promise<void>,
): void {
  const handle: handleServerStreamingCall<Received<Input>, MessageInitShape<Output>> = async (call) => {
    const signal = abandonment(call);
    const stream = { metadata: call.metadata, signal, write: writer(call, signal) };
    await endWith(
      call,
      signal,
      recordOf(call.metadata).log,
      async () => await serve(requireMessage(call.request), stream),
    );
  };
  server.register(pathOf(method), handle, encoder(method.output), decoder(method.input, limits), 'serverStream');
}

/** The error that ends an open stream when the server stops. */
export function stoppingError(): HandlerError {
  return new HandlerError('NOT_READY', 'Expected a running server, got one that is about to stop. Ask another one.');
}

/** The path by which calls name a method. */
export function pathOf({ parent, name }: Pick<DescMethodUnary, 'parent' | 'name'>): string {
  return `/${parent.typeName}/${name}`;
}

/** The part that all kinds of calls share. */
interface CancellableCall {
  readonly cancelled: boolean;
  getDeadline(): Deadline;
  once(event: 'cancelled', listener: () => void): unknown;
}

interface EndableCall {
  end(): unknown;
  emit(event: 'error', status: StatusObject): boolean;
}

/** A signal that aborts when a call is cancelled or its deadline passes. grpc-js also reports both after an answer. */
function abandonment(call: CancellableCall): AbortSignal {
  const controller = new AbortController();
  const abandon = () => {
    const hasPassed = Number(call.getDeadline()) <= Date.now();
    controller.abort(
      hasPassed
        ? deadlineError()
        : new HandlerError('CANCELLED', 'Expected the client to wait for the answer, got its cancellation.'),
    );
  };
  if (call.cancelled) abandon();
  else call.once('cancelled', abandon);
  return controller.signal;
}

async function endWith(call: EndableCall, signal: AbortSignal, log: Log, serve: () => Promise<void>): Promise<void> {
  try {
    await serve();
    if (!signal.aborted) call.end();
  } catch (thrown) {
    if (!signal.aborted) call.emit('error', statusOf(reported(thrown, log))); // grpc-js takes the status of a stream so.
  }
}

function writer<Message>(
  call: ServerWritableStream<unknown, Message> | ServerDuplexStream<unknown, Message>,
  signal: AbortSignal,
): (message: Message) => Promise<void> {
  return async (message) => {
    signal.throwIfAborted();
    if (!call.write(message)) await once(call, 'drain', { signal });
  };
}

/** The value of `promise`, or an error when the server stops before. No listener stays behind. */
async function unlessStopped<T>(promise: Promise<T>, stopping: AbortSignal): Promise<T> {
  if (stopping.aborted) throw stoppingError();
  return await new Promise<T>((resolve, reject) => {
    const stop = () => reject(stoppingError());
    stopping.addEventListener('abort', stop, { once: true });
    promise.then(resolve, reject).finally(() => stopping.removeEventListener('abort', stop));
  });
}
