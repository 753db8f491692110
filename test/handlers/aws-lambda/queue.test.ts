import type { SQSBatchResponse, SQSEvent } from 'aws-lambda';
import { expect, onTestFinished, test } from 'vitest';
import type { MessageResult } from '../../../handlers/aws-lambda/sqs.ts';
import { startFunction } from '../../support/lambda.ts';
import { startServer } from '../../support/loopback-server.ts';
import { type Queue, startQueue } from '../../support/queue.ts';
import { dataUri } from '../../support/server.ts';

/** A queue, end to end: what is delivered once, what comes again, and what is given up. */

/** A function with a queue that invokes it, and its results. */
async function connect(queue: Queue) {
  const results: MessageResult[] = [];
  const lambda = startFunction({}, { onResult: (result) => void results.push(result) });
  onTestFinished(async () => {
    await lambda.close();
    await queue.close();
  });
  // The function answers an event of SQS with this type.
  const invoke = async (event: SQSEvent) => (await lambda.invoke(event)) as SQSBatchResponse;
  return { results, deliver: () => queue.deliver(invoke) };
}

/** Delivers until nothing is left. */
async function drain(queue: Queue, deliver: () => Promise<number>): Promise<void> {
  while (queue.left() > 0) await deliver();
}

test('every message has one result, though its image was not there at first', async () => {
  const queue = await startQueue(5);
  const { results, deliver } = await connect(queue);
  let requests = 0;
  const picture = Buffer.from(dataUri('small').split(',')[1] ?? '', 'base64');
  const host = await startServer({
    '/late.png': (response) => {
      requests += 1;
      if (requests < 3) response.writeHead(503).end();
      else response.end(picture);
    },
  });
  await queue.send([
    { img_url: dataUri('small') },
    { img_url: `${host}/late.png` },
    { img_url: 'http://169.254.169.254/latest/meta-data' },
    'not JSON',
  ]);
  await drain(queue, deliver);
  expect(requests).toBe(3);
  const outcomes = results.map((result) => ('error' in result ? result.error.code : 'caption'));
  expect(outcomes.sort()).toEqual(['IMAGE_SOURCE_BLOCKED', 'INVALID_REQUEST', 'caption', 'caption']);
  const counts = results.map(({ record }) => Number(record.attributes.ApproximateReceiveCount));
  expect(counts.sort()).toEqual([1, 1, 1, 3]);
  expect(await queue.deadLetters()).toEqual([]);
});

test('a message that fails every time ends with the dead letters, and delays no other', async () => {
  const queue = await startQueue(2);
  const { results, deliver } = await connect(queue);
  const hopeless = JSON.stringify({ img_url: 'http://127.0.0.1:9/cat.png' });
  await queue.send([hopeless, { img_url: dataUri('small') }]);
  await drain(queue, deliver);
  expect(results).toHaveLength(1);
  expect(await queue.deadLetters()).toEqual([hopeless]);
});
