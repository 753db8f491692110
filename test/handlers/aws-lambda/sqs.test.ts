import { readFileSync } from 'node:fs';
import { beforeEach, describe, expect, type MockInstance, test, vi } from 'vitest';
import Handler from '../../../app.ts';
import { createHandlers } from '../../../handlers/aws-lambda/handlers.ts';
import { type MessageResult, type OnResult, writeResult } from '../../../handlers/aws-lambda/sqs.ts';
import { type ErrorCode, errorCodes, HandlerError } from '../../../protocol/errors.ts';
import { checkpointFolder, imagePath } from '../../support/goldens.ts';
import { failureOf, startFunction } from '../../support/lambda.ts';
import { lambdaContext, sqsEvent, sqsRecord } from '../../support/lambda-events.ts';
import { bytes, dataUri, startImageServer } from '../../support/server.ts';
import { withFunction, withImageServer } from '../../support/with-server.ts';

/** Batches of messages: which messages get a result, which ones come again, and in which order. */

const corrupt = `data:;base64,${readFileSync(imagePath('chelsea')).subarray(0, 20_000).toString('base64')}`;
/** No server listens at this address. */
const unreachable = 'http://127.0.0.1:9/cat.png';

const single = withFunction({ lambdaAuthorizer: 'tokens' });
const images = withImageServer();
let results: MessageResult[];

beforeEach(() => {
  results = [];
});

const collect: OnResult = (result) => void results.push(result);

function deliver(event: object, onResult: OnResult = collect, remainingMs = 30_000): Promise<unknown> {
  return createHandlers(single.environment, { onResult }).handler(event, lambdaContext(remainingMs));
}

/**
 * Delivers with 9 s left, and lets them pass when so many messages have a result. An image has 10 s to arrive.
 * Until then, timers run in real time.
 */
async function deliverUntilLate(event: object, onResult: OnResult, resultCount: number): Promise<unknown> {
  await single.environment.load();
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'], shouldAdvanceTime: true });
  const delivered = deliver(event, onResult, 9_000);
  await expect.poll(() => results.length, { timeout: 5_000 }).toBe(resultCount);
  vi.advanceTimersByTime(9_000);
  return await delivered;
}

/** The messages that come again. */
function failures(...messageIds: readonly string[]): object {
  return { batchItemFailures: messageIds.map((itemIdentifier) => ({ itemIdentifier })) };
}

/** Results by message: the caption, or the code. */
function outcomes(): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    results.map((result) => [
      result.record.messageId,
      'error' in result ? result.error.code : result.response.outputs[0]?.data,
    ]),
  );
}

describe('a batch', () => {
  test('has a result for each message, except those worth another try', async () => {
    const event = sqsEvent({
      protocol: { id: 'x', inputs: [bytes('img_url', [dataUri('chelsea')]), bytes('text', ['a picture of'])] },
      flat: { img_url: dataUri('rocket'), text: 'a picture of' },
      fetched: { img_url: `${images.url}/chelsea.png` },
      blocked: { img_url: 'http://169.254.169.254/latest/meta-data' },
      corrupt: { img_url: corrupt },
      page: { img_url: `${images.url}/page.html` },
      unreachable: { img_url: unreachable },
      missing: { img_url: `${images.url}/missing.png` },
      unparsable: '{"img_url": ',
      text: 'hello',
      unknown: { img_url: dataUri('small'), model_name: 'other' },
      invalid: { img_url: dataUri('small'), num_beams: 'many' },
      partial: { img_url: [dataUri('small'), unreachable] },
    });
    expect(await deliver(event)).toEqual(failures('unreachable', 'missing'));
    expect(outcomes()).toEqual({
      protocol: [expect.stringMatching(/^a picture of/)],
      flat: [expect.stringMatching(/^a picture of/)],
      fetched: [expect.any(String)],
      blocked: 'IMAGE_SOURCE_BLOCKED',
      corrupt: 'IMAGE_CORRUPT',
      page: 'IMAGE_UNSUPPORTED',
      unparsable: 'INVALID_REQUEST',
      text: 'INVALID_REQUEST',
      unknown: 'NOT_FOUND',
      invalid: 'INVALID_INPUT',
      partial: [expect.any(String), ''],
    });
  });

  test('reports no failures where each message succeeds', async () => {
    expect(await deliver(sqsEvent({ first: { img_url: dataUri('small') } }))).toEqual(failures());
  });

  test('is computed in one run', async () => {
    const answer = deliver(sqsEvent({ first: heldImage(), second: heldImage(), third: heldImage() }));
    await images.held(3);
    images.release();
    expect(await answer).toEqual(failures());
    expect(results).toHaveLength(3);
  });

  test('may be larger than the queue of the model', async () => {
    const small = startFunction({ maxQueueSize: 3 }, { onResult: collect });
    const bodies = Array.from(
      { length: 10 },
      (_, index) => [`m${index}`, { img_url: pictures(1 + (index % 3)) }] as const,
    );
    const event = sqsEvent(Object.fromEntries(bodies));
    expect(await small.invoke(event)).toEqual(failures());
    expect(results).toHaveLength(10);
    results = [];
    const ordered = sqsEvent(Object.fromEntries(bodies), { MessageGroupId: 'all' });
    expect(await small.invoke(ordered)).toEqual(failures());
    await small.close();
    expect(results.map(({ record }) => record.messageId)).toEqual(bodies.map(([id]) => id));
  });

  test('has an error for a message that is larger than the queue', async () => {
    const small = startFunction({ maxQueueSize: 3 }, { onResult: collect });
    expect(await small.invoke(sqsEvent({ many: { img_url: pictures(4) }, few: { img_url: pictures(3) } }))).toEqual(
      failures(),
    );
    await small.close();
    expect(outcomes()).toEqual({ many: 'INVALID_INPUT', few: Array.from({ length: 3 }, () => expect.any(String)) });
  });

  test('sends each message to the model that it names', async () => {
    const several = startFunction(
      {
        models: [
          { name: 'words', checkpoint: checkpointFolder('narrow-vision') },
          { name: 'vectors', checkpoint: checkpointFolder('clip-placeholder-end') },
        ],
      },
      { onResult: collect },
    );
    const image = { img_url: dataUri('small') };
    const event = sqsEvent({
      words: { model_name: 'words', ...image },
      vectors: { model_name: 'vectors', ...image },
      neither: image,
    });
    expect(await several.invoke(event)).toEqual(failures());
    await several.close();
    expect(outcomes()).toEqual({
      words: [expect.any(String)],
      vectors: expect.arrayContaining([expect.any(Number)]),
      neither: 'INVALID_REQUEST',
    });
  });
});

const pictures = (count: number) => Array.from({ length: count }, () => dataUri('small'));

/** An image whose host answers when the test says so. */
function heldImage(): object {
  return { img_url: `${images.url}/held.png` };
}

describe('another try', () => {
  let infer: MockInstance<Handler['inferTensors']>;
  const codes = Object.keys(errorCodes) as readonly ErrorCode[]; // The keys of a table of codes.

  beforeEach(() => {
    infer = vi.spyOn(Handler.prototype, 'inferTensors');
  });

  test('is for errors that may pass', async () => {
    const again: ErrorCode[] = [];
    for (const code of codes) {
      infer.mockRejectedValueOnce(new HandlerError(code, 'Expected nothing.'));
      const answer = await deliver(sqsEvent({ [code]: {} }));
      if (JSON.stringify(answer) === JSON.stringify(failures(code))) again.push(code);
    }
    const passing = [
      'IMAGE_HOST_NOT_FOUND',
      'IMAGE_HOST_UNREACHABLE',
      'IMAGE_HOST_TLS_FAILED',
      'IMAGE_HOST_NOT_HTTP',
      'IMAGE_FETCH_FAILED',
      'IMAGE_FETCH_TIMEOUT',
      'REQUEST_TIMEOUT',
      'DEADLINE_EXCEEDED',
      'CANCELLED',
      'OVERLOADED',
      'NOT_READY',
      'INTERNAL',
    ];
    expect(again).toEqual(passing);
    expect(outcomes()).toEqual(
      Object.fromEntries(codes.filter((code) => !passing.includes(code)).map((code) => [code, code])),
    );
  });

  test('is for unexpected errors', async () => {
    infer.mockRejectedValueOnce(new TypeError('Cannot read properties of undefined.'));
    expect(await deliver(sqsEvent({ first: {} }))).toEqual(failures('first'));
  });
});

describe('FIFO queues', () => {
  const good = { img_url: dataUri('small') };
  const bad = { img_url: unreachable };
  const message = (id: string, body: object, group: string) => sqsRecord(id, body, { MessageGroupId: group });

  test('repeat the rest of a group after a message that comes again', async () => {
    const event = {
      Records: [
        message('a1', good, 'a'),
        message('b1', good, 'b'),
        message('a2', bad, 'a'),
        message('b2', { img_url: 'http://10.0.0.1/' }, 'b'),
        message('a3', good, 'a'),
        message('b3', good, 'b'),
      ],
    };
    expect(await deliver(event)).toEqual(failures('a2', 'a3'));
    const order = results.map(({ record }) => record.messageId);
    expect(order.filter((id) => id.startsWith('a'))).toEqual(['a1']);
    expect(order.filter((id) => id.startsWith('b'))).toEqual(['b1', 'b2', 'b3']);
  });

  test('hand over the results of a group one after another', async () => {
    const taken: string[] = [];
    const slow: OnResult = async ({ record }) => {
      taken.push(`${record.messageId} begins`);
      await new Promise((resolve) => setTimeout(resolve, 20));
      taken.push(`${record.messageId} ends`);
    };
    const Records = ['1', '2'].map((id) => message(id, good, 'a'));
    expect(await deliver({ Records }, slow)).toEqual(failures());
    expect(taken).toEqual(['1 begins', '1 ends', '2 begins', '2 ends']);
  });
});

describe('onResult', () => {
  const event = sqsEvent({ first: { img_url: dataUri('small') }, second: { img_url: dataUri('small') } });

  test('gets each message with its result', async () => {
    await deliver(sqsEvent({ first: { img_url: dataUri('small') } }, { ApproximateReceiveCount: '3' }));
    expect(results).toMatchObject([
      {
        record: { messageId: 'first', attributes: { ApproximateReceiveCount: '3' } },
        response: { model_name: 'captioning', outputs: [{ name: 'generated_output' }] },
      },
    ]);
  });

  test('that rejects makes the message come again', async () => {
    const refuse: OnResult = async (result) => {
      if (result.record.messageId === 'second') throw new Error('No bucket.');
      results.push(result);
    };
    expect(await deliver(event, refuse)).toEqual(failures('second'));
    expect(results).toHaveLength(1);
  });

  test('that does not end makes the message come again before Lambda kills the function', async () => {
    const unfinished: OnResult = (result) => {
      results.push(result);
      return result.record.messageId === 'first' ? new Promise(() => undefined) : undefined;
    };
    expect(await deliverUntilLate(event, unfinished, 2)).toEqual(failures('first'));
  });
});

describe('writeResult', () => {
  let write: MockInstance<typeof process.stdout.write>;

  beforeEach(() => {
    write = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  });

  test('writes a line of JSON for each result', () => {
    const parameters = { precision: 'float32' };
    const response = { model_name: 'captioning', model_version: '1', parameters, outputs: [] };
    writeResult({ record: sqsRecord('first', '{}'), response });
    writeResult({ record: sqsRecord('second', '{}'), error: new HandlerError('IMAGE_CORRUPT', 'Expected an image.') });
    expect(write.mock.calls.map(([line]) => line)).toEqual([
      `${JSON.stringify({ messageId: 'first', response })}\n`,
      `${JSON.stringify({ messageId: 'second', error: 'Expected an image.', code: 'IMAGE_CORRUPT' })}\n`,
    ]);
  });

  test('is the onResult of a function without one', async () => {
    await single.invoke(sqsEvent({ first: { img_url: dataUri('small') }, second: '' }));
    const lines = write.mock.calls.map(([line]) => JSON.parse(String(line)));
    expect(lines).toContainEqual({ messageId: 'first', response: expect.objectContaining({ model_version: '1' }) });
    expect(lines).toContainEqual({ messageId: 'second', error: expect.any(String), code: 'INVALID_REQUEST' });
  });
});

describe('the remaining time', () => {
  test('ends messages that take too long, which come again; the others have results', async () => {
    const held = await startImageServer();
    const event = sqsEvent({ slow: { img_url: `${held.url}/held.png` }, quick: { img_url: dataUri('small') } });
    expect(await deliverUntilLate(event, collect, 1)).toEqual(failures('slow'));
    const { model } = single.environment.models[0] ?? {};
    await expect.poll(() => model?.queuedItems()).toBe(0);
    held.release();
    await single.invoke({ img_url: `${held.url}/held.png` });
    await held.close();
    expect(Object.keys(outcomes())).toEqual(['quick']);
  });

  test('is over: all messages come again, and none is begun', async () => {
    const infer = vi.spyOn(Handler.prototype, 'inferTensors');
    await single.environment.load();
    const event = sqsEvent({ first: { img_url: dataUri('small') }, second: { img_url: dataUri('small') } });
    expect(await deliver(event, collect, 100)).toEqual(failures('first', 'second'));
    expect(infer).not.toHaveBeenCalled();
  });
});

describe('a checkpoint that does not load', () => {
  test('fails the whole batch with its error, so that each message comes again', async () => {
    const broken = startFunction({ checkpoint: '/nowhere' }, { onResult: collect });
    const event = sqsEvent({ first: { img_url: dataUri('small') } });
    expect(await failureOf(broken.invoke(event))).toMatchObject({ errorType: 'CHECKPOINT_NOT_FOUND' });
    expect(results).toEqual([]);
  });
});
