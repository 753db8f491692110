import type { DescMessage, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import type { HandlerError } from '../../protocol/errors.ts';
import type { Log } from '../service/log.ts';
import { type Received, requireMessage } from './codec.ts';
import type { Stream } from './methods.ts';
import { reported } from './statuses.ts';

/** How a stream's requests are answered. */
export interface StreamAnswers<Input extends DescMessage, Output extends DescMessage> {
  /** @param lengthBytes of the message with the request. */
  readonly answer: (request: MessageShape<Input>, lengthBytes: number) => Promise<MessageInitShape<Output>>;
  /** The answer to a request that failed; `undefined` stands for one that could not be read. */
  readonly failed: (error: HandlerError, request: MessageShape<Input> | undefined) => MessageInitShape<Output>;
  /** The most requests of one stream that run at a time. */
  readonly maxRunning: number;
  readonly log: Log;
}

/**
 * Answers the requests of a stream, several at a time, so that they share batches. Answers come in the order of the
 * requests. A request that fails gets an error as its answer; the stream goes on.
 * Source: triton-inference-server/common, protobuf/grpc_service.proto.
 */
export async function answerStream<Input extends DescMessage, Output extends DescMessage>(
  { next, write }: Stream<Input, Output>,
  answers: StreamAnswers<Input, Output>,
): Promise<void> {
  const written: Promise<void>[] = [];
  let previous = Promise.resolve();
  try {
    for (let received = await next(); received !== undefined; received = await next()) {
      previous = writeAfter(previous, respond(received, answers), write);
      previous.catch(() => undefined); // It is awaited below, after earlier ones.
      written.push(previous);
      if (written.length >= answers.maxRunning) await written.shift();
    }
  } finally {
    await Promise.all(written); // When the server stops, requests that were read are still answered.
  }
}

async function writeAfter<Response>(
  previous: Promise<void>,
  response: Promise<Response>,
  write: (response: Response) => Promise<void>,
): Promise<void> {
  await previous;
  await write(await response);
}

async function respond<Input extends DescMessage, Output extends DescMessage>(
  received: Received<Input>,
  { answer, failed, log }: StreamAnswers<Input, Output>,
): Promise<MessageInitShape<Output>> {
  try {
    const lengthBytes = 'message' in received ? received.lengthBytes : 0;
    return await answer(requireMessage(received), lengthBytes);
  } catch (thrown) {
    return failed(reported(thrown, log), 'message' in received ? received.message : undefined);
  }
}
