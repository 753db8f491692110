import type { SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda';
import { unlessAborted } from '../../pipeline/abort.ts';
import { errorCodes, HandlerError, toHandlerError } from '../../protocol/errors.ts';
import { requireFewValues } from '../../protocol/value-count.ts';
import { logInternal } from '../service/log-internal.ts';
import { answerBody } from './answer-body.ts';
import type { LambdaEnvironment } from './environment.ts';
import { type Clock, untilLate, workingTimeMs } from './invocation-clock.ts';
import type { MessageResult, OnResult } from './sqs.ts';
import { createTurns, type Turns } from './turns.ts';

/**
 * Answers a batch of messages, each the body of a request, with models that are loaded. Messages are computed together.
 * Those of one FIFO group get their results in order; after one that must be delivered again, the rest of its group must
 * be too.
 * Source: AWS documentation, "Handling errors for an SQS event source in Lambda".
 * @returns the messages that are worth another try.
 */
export async function answerMessages(
  environment: LambdaEnvironment,
  { Records: records }: SQSEvent,
  clock: Clock,
  onResult: OnResult,
): Promise<SQSBatchResponse> {
  const failed = new Set<SQSRecord>();
  const groups = groupsOf(records);
  await untilLate(clock, async (until) => {
    const batch = { environment, clock, onResult, until, turns: createTurns() };
    const answerGroups = async () => {
      for (let group = groups.shift(); group !== undefined; group = groups.shift())
        for (const record of await answerGroup(group, batch)) failed.add(record);
    };
    await Promise.all(Array.from({ length: groupLimit(environment) }, answerGroups));
  });
  return {
    batchItemFailures: records
      .filter((record) => failed.has(record))
      .map(({ messageId }) => ({ itemIdentifier: messageId })),
  };
}

/** The most groups that are answered at a time. The queue of each model is bounded, so that more would only be refused. */
function groupLimit({ models }: LambdaEnvironment): number {
  return Math.min(...models.map(({ settings }) => settings.maxQueueSize));
}

/** Groups of messages in their order: those of one FIFO group, or a single message of another queue. */
function groupsOf(records: readonly SQSRecord[]): SQSRecord[][] {
  const groups = new Map<string, SQSRecord[]>();
  for (const record of records) {
    const isOrdered = record.eventSourceARN.endsWith('.fifo');
    const key = isOrdered ? `group ${record.attributes.MessageGroupId}` : `message ${record.messageId}`;
    groups.set(key, [...(groups.get(key) ?? []), record]);
  }
  return [...groups.values()];
}

/** The state that the messages of a batch share. */
interface Batch {
  readonly environment: LambdaEnvironment;
  readonly clock: Clock;
  readonly onResult: OnResult;
  /** Aborts when the time of the function is over. */
  readonly until: AbortSignal;
  readonly turns: Turns;
}

/** @returns the messages that must be delivered again. */
async function answerGroup(records: readonly SQSRecord[], batch: Batch): Promise<readonly SQSRecord[]> {
  if (workingTimeMs(batch.clock) === 0) return records;
  const { log } = batch.environment.server;
  const answers = records.map((record) => [record.messageId, answerMessage(record, batch)] as const);
  for (const [index, [messageId, answer]] of answers.entries()) {
    try {
      await unlessAborted(deliver(answer, batch), batch.until);
    } catch (thrown) {
      const failure = toHandlerError(thrown);
      logInternal(failure, log);
      log.warn({ messageId, code: failure.code, reason: failure.message }, 'to be delivered again');
      return records.slice(index);
    }
  }
  return [];
}

/** Hands a result over. @throws the error that makes the message worth another try. */
async function deliver(answer: Promise<MessageResult>, { onResult, until }: Batch): Promise<void> {
  const result = await answer;
  until.throwIfAborted(); // The message was reported as failed.
  if ('error' in result && errorCodes[result.error.code].retryable) throw result.error;
  await onResult(result);
}

/** Never throws. */
async function answerMessage(record: SQSRecord, { environment, until, turns }: Batch): Promise<MessageResult> {
  try {
    const body = parseJson(record.body);
    return { record, response: await turns.take(() => answerBody(environment, body, until), until) };
  } catch (thrown) {
    return { record, error: toHandlerError(thrown) };
  }
}

function parseJson(text: string): unknown {
  requireFewValues(text);
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
