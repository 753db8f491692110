import { once } from 'node:events';
import { describe, expect, test, vi } from 'vitest';
import { expectStatus, type GrpcClient, type InferAnswer, tensorsOf, typedBytes } from '../../support/grpc.ts';
import { dataUri } from '../../support/server.ts';
import { doorsForTest, withDoors, withImageServerForEach } from '../../support/with-server.ts';

const doors = withDoors();
const images = withImageServerForEach();

interface StreamAnswer {
  readonly error_message: string;
  readonly infer_response: InferAnswer | null;
}

const request = (id: string, image: string) => ({
  model_name: 'captioning',
  id,
  inputs: [typedBytes('img_url', [image])],
});

/** Sends all requests, then reads answers until the stream ends. */
async function stream(client: GrpcClient, requests: readonly object[]): Promise<readonly StreamAnswer[]> {
  const call = client.open('ModelStreamInfer');
  for (const each of requests) call.write(each);
  call.end();
  return (await call.toArray()) as StreamAnswer[]; // The .proto names the message.
}

test('the requests of a stream are answered in their order; one that fails does not stop the others', async () => {
  const requests = [
    request('chelsea', dataUri('chelsea')),
    request('bad', '####'),
    { ...request('other', dataUri('chelsea')), model_name: 'other' },
    request('rocket', dataUri('rocket')),
    ...Array.from({ length: 20 }, (_, index) => request(String(index), dataUri('small', String(index)))),
  ];
  const answers = await stream(doors.client, requests);
  expect(answers.map(({ infer_response }) => infer_response?.id)).toEqual(requests.map(({ id }) => id));
  expect(answers[1]).toMatchObject({ error_message: expect.stringMatching(/^IMAGE_SOURCE_INVALID: Expected /) });
  expect(answers[2]).toMatchObject({ error_message: expect.stringMatching(/^NOT_FOUND: .*'other'/) });
  for (const [index, { error_message, infer_response }] of answers.entries()) {
    if (index === 1 || index === 2) continue;
    const alone = await doors.client.call<InferAnswer>('ModelInfer', requests[index]);
    expect(error_message).toBe('');
    expect(infer_response === null ? null : tensorsOf(infer_response)).toEqual(tensorsOf(alone));
  }
});

test('a stream without requests ends', async () => {
  expect(await stream(doors.client, [])).toEqual([]);
});

test('an answer comes before the client ends the stream', async () => {
  const call = doors.client.open('ModelStreamInfer');
  for (const id of ['first', 'second']) {
    call.write(request(id, dataUri('small')));
    const [answer] = await once(call, 'data');
    expect(answer).toMatchObject({ error_message: '', infer_response: { id } });
  }
  call.end();
  await once(call.resume(), 'end');
});

test.each([
  ['fill a batch', { maxBatchSize: 3 }],
  ['the queue takes', { maxQueueSize: 3 }],
])('requests of a stream are computed at the same time, as many as %s', async (_what, changes) => {
  const few = await doorsForTest(changes);
  const held = Array.from({ length: 5 }, (_, index) => request(String(index), `${images.url}/held.png`));
  const answers = stream(few.client, held);
  await images.held(3);
  let isFourthHeld = false;
  void images.held(4).then(() => {
    isFourthHeld = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(isFourthHeld).toBe(false);
  images.release();
  expect((await answers).map(({ error_message }) => error_message)).toEqual(['', '', '', '', '']);
});

test('a client that disconnects ends its stream and drops its requests', async () => {
  const infer = vi.spyOn(doors.model, 'inferTensors');
  const call = doors.client.open('ModelStreamInfer');
  const ended = new Promise((resolve) => call.once('error', resolve));
  call.write(request('held', `${images.url}/held.png`));
  await images.held(1);
  call.cancel();
  expect(await ended).toMatchObject({ code: 1 });
  const signal = infer.mock.calls[0]?.[0].signal;
  await expect.poll(() => signal?.reason, { timeout: 10_000 }).toMatchObject({ code: 'CANCELLED' });
  images.release();
  expect(await stream(doors.client, [request('next', dataUri('small'))])).toHaveLength(1);
});

describe('tokens', () => {
  test('are checked when the stream begins; each request of a stream counts for its token', async () => {
    const guarded = await doorsForTest({ apiTokens: ['one'], maxRequestsPerToken: 2 });
    const strange = guarded.client.open('ModelStreamInfer');
    const refused = new Promise((_resolve, reject) => strange.once('error', reject));
    await expectStatus(refused, 'UNAUTHENTICATED', 'UNAUTHORIZED');

    const metadata = { authorization: 'Bearer one' };
    const call = guarded.client.open('ModelStreamInfer', { metadata });
    for (const id of ['1', '2', '3']) call.write(request(id, `${images.url}/held.png`));
    await images.held(2);
    const more = guarded.client.call('ModelInfer', request('more', dataUri('small')), { metadata });
    await expectStatus(more, 'RESOURCE_EXHAUSTED', 'OVERLOADED');
    images.release();
    call.end();
    const answers = (await call.toArray()) as StreamAnswer[]; // The .proto names the message.
    expect(answers.map(({ error_message }) => error_message)).toEqual(['', '', '']);
  });
});
