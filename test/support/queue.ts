import {
  DeleteMessageCommand,
  type Message,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SQSClient,
} from '@aws-sdk/client-sqs';
import type { SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda';
import { startFauxqs } from 'fauxqs';

/**
 * A queue with a dead-letter queue on this machine, and what AWS has between a queue and a function: it receives batches,
 * invokes the function, and deletes what the function does not report as failed.
 * Source: AWS documentation, "Using Lambda with Amazon SQS".
 */

const VISIBILITY_TIMEOUT_S = 1;
const REGION = 'us-east-1';

export interface Queue {
  /** Sends up to ten messages; objects as JSON. */
  send(bodies: readonly (string | object)[]): Promise<void>;
  /**
   * Receives one batch, invokes the function with it, and deletes what has not failed.
   * @returns how many messages there were.
   */
  deliver(invoke: (event: SQSEvent) => Promise<SQSBatchResponse>): Promise<number>;
  /** Messages that are left in the queue, seen or unseen. */
  left(): number;
  /** Bodies of the messages that were given up. */
  deadLetters(): Promise<readonly string[]>;
  close(): Promise<void>;
}

/** @param maxReceiveCount times that a message is delivered before it is given up. */
export async function startQueue(maxReceiveCount: number): Promise<Queue> {
  const emulator = await startFauxqs({ port: 0, logger: false, host: '127.0.0.1' });
  const client = new SQSClient({
    endpoint: `http://127.0.0.1:${emulator.port}`,
    region: REGION,
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  });
  const deadLetters = emulator.createQueue('given-up');
  const { queueUrl, queueArn } = emulator.createQueue('captions', {
    attributes: {
      VisibilityTimeout: String(VISIBILITY_TIMEOUT_S),
      RedrivePolicy: JSON.stringify({ deadLetterTargetArn: deadLetters.queueArn, maxReceiveCount }),
    },
  });
  const receive = async (url: string, waitTimeSeconds: number): Promise<readonly Message[]> => {
    const { Messages = [] } = await client.send(
      new ReceiveMessageCommand({
        QueueUrl: url,
        MaxNumberOfMessages: 10,
        WaitTimeSeconds: waitTimeSeconds,
        MessageSystemAttributeNames: ['All'],
      }),
    );
    return Messages;
  };
  return {
    async send(bodies) {
      const entries = bodies.map((body, index) => ({
        Id: String(index),
        MessageBody: typeof body === 'string' ? body : JSON.stringify(body),
      }));
      await client.send(new SendMessageBatchCommand({ QueueUrl: queueUrl, Entries: entries }));
    },
    async deliver(invoke) {
      const messages = await receive(queueUrl, 2 * VISIBILITY_TIMEOUT_S);
      if (messages.length === 0) return 0;
      const { batchItemFailures } = await invoke({ Records: messages.map((message) => recordOf(message, queueArn)) });
      const failed = new Set(batchItemFailures.map(({ itemIdentifier }) => itemIdentifier));
      for (const { MessageId = '', ReceiptHandle } of messages) {
        if (!failed.has(MessageId)) await client.send(new DeleteMessageCommand({ QueueUrl: queueUrl, ReceiptHandle }));
      }
      return messages.length;
    },
    left() {
      const { ready = [], inflight = [] } = emulator.inspectQueue('captions')?.messages ?? {};
      return ready.length + inflight.length;
    },
    async deadLetters() {
      return (await receive(deadLetters.queueUrl, 0)).map(({ Body = '' }) => Body);
    },
    async close() {
      client.destroy();
      await emulator.stop();
    },
  };
}

function recordOf({ MessageId, ReceiptHandle, Body, Attributes, MD5OfBody }: Message, arn: string): SQSRecord {
  const { ApproximateReceiveCount, SentTimestamp, SenderId, ApproximateFirstReceiveTimestamp } = Attributes ?? {};
  return {
    messageId: MessageId ?? '',
    receiptHandle: ReceiptHandle ?? '',
    body: Body ?? '',
    attributes: {
      ApproximateReceiveCount: ApproximateReceiveCount ?? '',
      SentTimestamp: SentTimestamp ?? '',
      SenderId: SenderId ?? '',
      ApproximateFirstReceiveTimestamp: ApproximateFirstReceiveTimestamp ?? '',
    },
    messageAttributes: {},
    md5OfBody: MD5OfBody ?? '',
    eventSource: 'aws:sqs',
    eventSourceARN: arn,
    awsRegion: REGION,
  };
}
