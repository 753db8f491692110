import type { MessageInitShape } from '@bufbuild/protobuf';
import { errorText } from '../../protocol/error-answer.ts';
import type { Log } from '../service/log.ts';
import { type Received, requireMessage } from './codec.ts';
import type {
  ModelInferRequest,
  ModelInferRequestSchema,
  ModelInferResponseSchema,
  ModelStreamInferResponseSchema,
} from './generated/open_inference_pb.js';
import type { Stream } from './methods.ts';
import { reported } from './statuses.ts';

type Response = MessageInitShape<typeof ModelStreamInferResponseSchema>;

export interface StreamInferOptions {
  /** The most requests of one stream that run at a time. */
  readonly maxRunning: number;
  /** @param lengthBytes of the message with the request. */
  readonly answer: (
    request: ModelInferRequest,
    lengthBytes: number,
  ) => Promise<MessageInitShape<typeof ModelInferResponseSchema>>;
  readonly log: Log;
}

/**
 * Answers the requests of a stream, several at a time, so that they share batches. Answers come in the order of the
 * requests. A request that fails gets an error as its answer; the stream goes on.
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
      previous.catch(() => undefined); // It is awaited below, after earlier ones.
      written.push(previous);
      if (written.length >= options.maxRunning) await written.shift();
    }
  } finally {
    await Promise.all(written); // When the server stops, requests that were read are still answered.
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
    const lengthBytes = 'message' in received ? received.lengthBytes : 0;
    return { inferResponse: await answer(requireMessage(received), lengthBytes) };
  } catch (thrown) {
    const error = reported(thrown, log);
    const { modelName, id } = 'message' in received ? received.message : { modelName: '', id: '' };
    return { errorMessage: errorText(error), inferResponse: { modelName, id } };
  }
}
