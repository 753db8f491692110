import type { MessageInitShape } from '@bufbuild/protobuf';
import { errorText } from '../../protocol/error-answer.ts';
import { type Received, requireMessage } from './codec.ts';
import type {
  ModelInferRequest,
  ModelInferRequestSchema,
  ModelInferResponseSchema,
  ModelStreamInferResponseSchema,
} from './generated/open_inference_pb.js';
import type { Log } from './log.ts';
import type { Stream } from './methods.ts';
import { reported } from './statuses.ts';

type Response = MessageInitShape<typeof ModelStreamInferResponseSchema>;

export interface StreamInferOptions {
  /** The most requests of one stream that are under way. */
  readonly maxRunning: number;
  readonly answer: (request: ModelInferRequest) => Promise<MessageInitShape<typeof ModelInferResponseSchema>>;
  readonly log: Log;
}

/**
 * Answers the requests of a stream, several at a time, so that they share batches. Answers come in the order of the
 * requests. One that fails says so in its answer, and leaves the stream and the others alone.
 * Source: triton-inference-server/common, protobuf/grpc_service.proto.
 */
export async function streamInfer(
  { next, write }: Stream<typeof ModelInferRequestSchema, typeof ModelStreamInferResponseSchema>,
  options: StreamInferOptions,
): Promise<void> {
  const written: Promise<void>[] = [];
  let previous = Promise.resolve();
  try {
    for (let received = await next(); received !== undefined; received = await next()) {
      previous = writeAfter(previous, respond(received, options), write);
      previous.catch(() => undefined); // Awaited below, after others.
      written.push(previous);
      if (written.length >= options.maxRunning) await written.shift();
    }
  } finally {
    await Promise.all(written); // Also when the server stops: what was read is answered.
  }
}

async function writeAfter(
  previous: Promise<void>,
  response: Promise<Response>,
  write: (response: Response) => Promise<void>,
): Promise<void> {
  await previous;
  await write(await response);
}

async function respond(
  received: Received<typeof ModelInferRequestSchema>,
  { answer, log }: StreamInferOptions,
): Promise<Response> {
  try {
    return { inferResponse: await answer(requireMessage(received)) };
  } catch (thrown) {
    const error = reported(thrown, log);
    const { modelName, id } = 'message' in received ? received.message : { modelName: '', id: '' };
    return { errorMessage: errorText(error), inferResponse: { modelName, id } };
  }
}
