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
import { decoder, encoder, type Received, requireMessage } from './codec.ts';
import type { Log } from './log.ts';
import { deadlineError, reported, statusOf } from './statuses.ts';

/** Methods of services, typed by their descriptions: the messages of each are known from the .proto files. */

export interface Call {
  readonly metadata: Metadata;
  /** Aborts when nobody waits for the answer any more, with the HandlerError that says why. */
  readonly signal: AbortSignal;
}

/** Where methods are added, and what all of them need. */
export interface MethodContext {
  readonly server: Server;
  /** The log of a call. */
  readonly logOf: (metadata: Metadata) => Log;
  /** The most bytes of a message. */
  readonly maxMessageBytes: number;
  /** Aborts when the server has stopped accepting: streams that are open end then. */
  readonly stopping: AbortSignal;
}

/** A method of one request and one answer. A call that was cancelled, or whose deadline has passed, is not answered. */
export function addUnary<Input extends DescMessage, Output extends DescMessage>(
  { server, logOf, maxMessageBytes }: MethodContext,
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
      if (!signal.aborted) callback(statusOf(reported(thrown, logOf(call.metadata))));
    }
  };
  server.register(pathOf(method), handle, encoder(method.output), decoder(method.input, maxMessageBytes), 'unary');
}

/** The server's side of a stream. */
export interface Stream<Input extends DescMessage, Output extends DescMessage> extends Call {
  /**
   * The next request, when it comes; `undefined` after the last.
   * @throws HandlerError `NOT_READY` when the server stops.
   */
  readonly next: () => Promise<Received<Input> | undefined>;
  /** Resolves when there is room for more. */
  readonly write: (message: MessageInitShape<Output>) => Promise<void>;
}

/** A method of any number of requests and answers. It ends when `serve` does, with the error that `serve` throws. */
export function addBidirectional<Input extends DescMessage, Output extends DescMessage>(
  { server, logOf, maxMessageBytes, stopping }: MethodContext,
  method: DescMethodBiDiStreaming<Input, Output>,
  serve: (stream: Stream<Input, Output>) => Promise<void>,
): void {
  const handle: handleBidiStreamingCall<Received<Input>, MessageInitShape<Output>> = async (call) => {
    const signal = abandonment(call);
    const requests: AsyncIterator<Received<Input>, undefined> = call.iterator({ destroyOnReturn: false });
    const next = async () => (await unlessStopped(requests.next(), stopping)).value;
    await endWith(call, signal, logOf(call.metadata), () =>
      serve({ metadata: call.metadata, signal, next, write: writer(call, signal) }),
    );
  };
  server.register(pathOf(method), handle, encoder(method.output), decoder(method.input, maxMessageBytes), 'bidi');
}

/** A method of one request and any number of answers. */
export function addServerStream<Input extends DescMessage, Output extends DescMessage>(
  { server, logOf, maxMessageBytes }: MethodContext,
  method: DescMethodServerStreaming<Input, Output>,
  serve: (request: MessageShape<Input>, stream: Omit<Stream<Input, Output>, 'next'>) => Promise<void>,
): void {
  const handle: handleServerStreamingCall<Received<Input>, MessageInitShape<Output>> = async (call) => {
    const signal = abandonment(call);
    const stream = { metadata: call.metadata, signal, write: writer(call, signal) };
    await endWith(call, signal, logOf(call.metadata), async () => await serve(requireMessage(call.request), stream));
  };
  server.register(
    pathOf(method),
    handle,
    encoder(method.output),
    decoder(method.input, maxMessageBytes),
    'serverStream',
  );
}

/** What an open stream ends with when the server stops. */
export function stoppingError(): HandlerError {
  return new HandlerError('NOT_READY', 'Expected the server to go on, got the order to stop. Ask another one.');
}

/** The path of a method, by which calls name it. */
export function pathOf({ parent, name }: Pick<DescMethodUnary, 'parent' | 'name'>): string {
  return `/${parent.typeName}/${name}`;
}

/** What calls of every kind have. */
interface CancellableCall {
  readonly cancelled: boolean;
  getDeadline(): Deadline;
  once(event: 'cancelled', listener: () => void): unknown;
}

interface EndableCall {
  end(): unknown;
  emit(event: 'error', status: StatusObject): boolean;
}

/** A signal that aborts when a call is cancelled, or its deadline passes. grpc-js also says so after an answer. */
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
    if (!signal.aborted) call.emit('error', statusOf(reported(thrown, log))); // How grpc-js takes the status of a stream.
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

/** What `promise` gives; but when the server stops before, an error. Nothing stays behind of either. */
async function unlessStopped<T>(promise: Promise<T>, stopping: AbortSignal): Promise<T> {
  if (stopping.aborted) throw stoppingError();
  return await new Promise<T>((resolve, reject) => {
    const stop = () => reject(stoppingError());
    stopping.addEventListener('abort', stop, { once: true });
    promise.then(resolve, reject).finally(() => stopping.removeEventListener('abort', stop));
  });
}
