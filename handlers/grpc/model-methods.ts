import type {
  DescMessage,
  DescMethodBiDiStreaming,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from '@bufbuild/protobuf';
import type { Metadata } from '@grpc/grpc-js';
import type Handler from '../../app.ts';
import type { Drain } from '../service/drain.ts';
import { answerStream, type StreamAnswers } from './answer-stream.ts';
import type { InferCall } from './ask-model.ts';
import type { CallGuard } from './guard.ts';
import { addBidirectional, addUnary, type Call, type MethodContext } from './methods.ts';

/** Methods that ask a model, of any service. All have the same guard, limits and deadlines. */

export interface ModelServices {
  readonly models: readonly Handler[];
  readonly guard: CallGuard;
  readonly drain: Drain;
  /** The most bytes of a message that asks a model. */
  readonly maxRequestBytes: number;
  /** The most requests of one stream that run at a time. */
  readonly maxStreamed: number;
  /** The most milliseconds that the service allows a request; `undefined` for any time. */
  readonly timeLimitMs: number | undefined;
}

type Ask<Input extends DescMessage, Output extends DescMessage> = (
  request: MessageShape<Input>,
  call: InferCall,
) => Promise<MessageInitShape<Output>>;

/** Adds a method of one request and one answer. Its path must be a guarded one. */
export function addModelUnary<Input extends DescMessage, Output extends DescMessage>(
  context: MethodContext,
  services: ModelServices,
  method: DescMethodUnary<Input, Output>,
  ask: Ask<Input, Output>,
): void {
  const { guard, drain, maxRequestBytes: maxBytes } = services;
  addUnary({ ...context, maxBytes }, method, (request, call) =>
    drain.count(() => guard.handle(call.metadata, () => ask(request, inferCall(services, call)))),
  );
}

/** Adds a method of any number of requests, which are answered in their order. Its path must be a guarded one. */
export function addModelStream<Input extends DescMessage, Output extends DescMessage>(
  context: MethodContext,
  services: ModelServices,
  method: DescMethodBiDiStreaming<Input, Output>,
  { ask, failed }: { readonly ask: Ask<Input, Output>; readonly failed: StreamAnswers<Input, Output>['failed'] },
): void {
  const { guard, drain, maxRequestBytes: maxBytes, maxStreamed: maxRunning } = services;
  addBidirectional({ ...context, maxBytes }, method, (stream) => {
    const call = inferCall(services, stream);
    const handle = (metadata: Metadata, lengthBytes: number, request: MessageShape<Input>) =>
      drain.count(() => guard.handleStreamed(metadata, lengthBytes, () => ask(request, call)));
    return answerStream(stream, {
      answer: (request, lengthBytes) => handle(stream.metadata, lengthBytes, request),
      failed,
      maxRunning,
      log: call.log,
    });
  });
}

function inferCall({ guard, timeLimitMs }: ModelServices, { metadata, signal }: Call): InferCall {
  return { ...guard.recordOf(metadata), signal, timeLimitMs, client: guard.tokenOf(metadata) };
}
