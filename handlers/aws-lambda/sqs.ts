import type { SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda';
import { HandlerError, toHandlerError } from '../../protocol/errors.ts';
import type { InferenceResponse } from '../../protocol/inference-response.ts';
import { retryable } from '../../protocol/retryable.ts';
import { answerBody, logInternal } from './answer-body.ts';
import { type Clock, inTime, workingTimeMs } from './deadline.ts';
import type { Environment } from './environment.ts';

/** What became of a message: an answer, or the error that it will always have. */
export type MessageResult = { readonly record: SQSRecord } & (
  | { readonly response: InferenceResponse }
  | { readonly error: HandlerError }
);

/**
 * Takes each result. A message whose result it refuses, by throwing, is delivered again. SQS may deliver a message
 * twice in any case: `record.messageId` tells.
 */
export type OnResult = (result: MessageResult) => void | Promise<void>;

/** Writes each result to the log, as a line of JSON. */
export const writeResult: OnResult = (result) => {
  const { messageId } = result.record;
  const outcome =
    'error' in result ? { error: result.error.message, code: result.error.code } : { response: result.response };
  process.stdout.write(`${JSON.stringify({ messageId, ...outcome })}\n`);
};

/**
 * Answers a batch of messages, each the body of a request. The models must be loaded. Messages are computed together;
 * those of one FIFO group have their results in order, and after one that must come again so must the rest of its group.
 * Source: AWS documentation, "Handling errors for an SQS event source in Lambda".
 * @returns only the messages that are worth another try.
 */
export async function answerMessages(
  environment: Environment,
  { Records: records }: SQSEvent,
  clock: Clock,
  onResult: OnResult,
): Promise<SQSBatchResponse> {
  const failed = new Set<SQSRecord>();
  const groups = groupsOf(records);
  // More at once would be refused: the queue in front of each model is bounded.
  const answerGroups = async () => {
    for (let group = groups.shift(); group !== undefined; group = groups.shift())
      for (const record of await answerGroup(environment, group, clock, onResult)) failed.add(record);
  };
  await Promise.all(Array.from({ length: environment.settings.maxQueueSize }, answerGroups));
  return {
    batchItemFailures: records
      .filter((record) => failed.has(record))
      .map(({ messageId }) => ({ itemIdentifier: messageId })),
  };
}

/** Messages of a FIFO group belong together; of others each stands alone. */
function groupsOf(records: readonly SQSRecord[]): SQSRecord[][] {
  const groups = new Map<string, SQSRecord[]>();
  for (const record of records) {
    const isOrdered = record.eventSourceARN.endsWith('.fifo');
    const key = isOrdered ? `group ${record.attributes.MessageGroupId}` : `message ${record.messageId}`;
    groups.set(key, [...(groups.get(key) ?? []), record]);
  }
  return [...groups.values()];
}

/** @returns those that must be delivered again. */
async function answerGroup(
  environment: Environment,
  records: readonly SQSRecord[],
  clock: Clock,
  onResult: OnResult,
): Promise<readonly SQSRecord[]> {
  if (workingTimeMs(clock) === 0) return records;
  const { log } = environment.server;
  const answers = records.map((record) => [record.messageId, answerMessage(environment, record)] as const);
  for (const [index, [messageId, answer]] of answers.entries()) {
    try {
      await inTime(deliver(answer, onResult), clock, 'the result');
    } catch (thrown) {
      const failure = toHandlerError(thrown);
      logInternal(failure, log);
      log.warn({ messageId, code: failure.code, reason: failure.message }, 'to be delivered again');
      return records.slice(index);
    }
  }
  return [];
}

/** @throws what makes the message worth another try. */
async function deliver(answer: Promise<MessageResult>, onResult: OnResult): Promise<void> {
  const result = await answer;
  if ('error' in result && retryable[result.error.code]) throw result.error;
  await onResult(result);
}

/** Never throws. */
async function answerMessage(environment: Environment, record: SQSRecord): Promise<MessageResult> {
  try {
    return { record, response: await answerBody(environment, parseJson(record.body)) };
  } catch (thrown) {
    return { record, error: toHandlerError(thrown) };
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new HandlerError(
      'INVALID_REQUEST',
      `Expected a JSON body, got ${Buffer.byteLength(text)} bytes that do not parse.`,
      { cause },
    );
  }
}
