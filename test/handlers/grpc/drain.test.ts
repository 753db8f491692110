import { once } from 'node:events';
import { constants } from 'node:http2';
import { describe, expect, onTestFinished, test } from 'vitest';
import { jumpClock } from '../../support/clock.ts';
import { expectStatus, type GrpcClient, grpcClient, HEALTH, openRaw, typedBytes } from '../../support/grpc.ts';
import { dataUri } from '../../support/server.ts';
import { doorsForTest, withImageServerForEach } from '../../support/with-server.ts';

const images = withImageServerForEach();

const requestFor = (image: string) => ({ model_name: 'captioning', inputs: [typedBytes('img_url', [image])] });
const quick = requestFor(dataUri('small'));
const held = () => requestFor(`${images.url}/held.png`);
const check = (client: GrpcClient) => client.call('Check', {}, { service: HEALTH });
const LIMIT_MS = 10_000;

describe('a server that drains', () => {
  test('answers accepted and new requests, while health reports NOT_SERVING', async () => {
    const { client, grpc } = await doorsForTest();
    const watch = client.watch('Watch', {}, { service: HEALTH });
    const watchEnded = new Promise((_resolve, reject) => watch.once('error', reject));
    expect(await once(watch, 'data')).toEqual([{ status: 'SERVING' }]);
    const running = [client.call('ModelInfer', held()), client.call('ModelInfer', held())];
    await images.held(2);

    const drained = grpc.drain(LIMIT_MS);
    expect(await once(watch, 'data')).toEqual([{ status: 'NOT_SERVING' }]);
    expect(await check(client)).toEqual({ status: 'NOT_SERVING' });
    expect(await client.call('ServerReady')).toEqual({ ready: false });
    expect(await client.call('ServerLive')).toEqual({ live: true });
    const newcomer = grpcClient(grpc.port);
    onTestFinished(() => newcomer.close());
    await newcomer.call('ModelInfer', quick);
    images.release();
    for (const answer of await Promise.all(running)) expect(answer).toMatchObject({ model_name: 'captioning' });

    await expectStatus(watchEnded, 'UNAVAILABLE', 'NOT_READY');
    await drained;
    const late = grpcClient(grpc.port);
    onTestFinished(() => late.close());
    await expect(late.call('ServerLive')).rejects.toMatchObject({ code: 14 });
  });

  test('answers the requests that it has read from a stream, then ends the stream', async () => {
    const { client, grpc } = await doorsForTest();
    const call = client.open('ModelStreamInfer');
    const ended = new Promise((_resolve, reject) => call.once('error', reject));
    const answers: unknown[] = [];
    call.on('data', (answer) => answers.push(answer));
    for (let count = 0; count < 3; count += 1) call.write(held());
    await images.held(3);
    const drained = grpc.drain(LIMIT_MS);
    images.release();
    await expectStatus(ended, 'UNAVAILABLE', 'NOT_READY');
    await drained;
    expect(answers).toHaveLength(3);
    for (const answer of answers) expect(answer).toMatchObject({ error_message: '' });
  });

  test('stops accepting at the limit, and still answers running requests', async () => {
    const { client, grpc } = await doorsForTest();
    const running = client.call('ModelInfer', held());
    await images.held(1);
    const drained = grpc.drain(100);
    const late = grpcClient(grpc.port);
    onTestFinished(() => late.close());
    await expect.poll(() => late.call('ServerLive').then(() => 'answered', String)).toMatch(/UNAVAILABLE/);
    images.release();
    expect(await running).toMatchObject({ model_name: 'captioning' });
    await drained;
  });
});

test('a server ends although clients leave calls open, or do not read', async () => {
  const { client, grpc } = await doorsForTest({ apiTokens: ['one'] });
  const refused = openRaw(grpc.port, 'ModelInfer');
  expect(await refused.headers).toMatchObject({ 'error-code': 'UNAUTHORIZED' });
  const closed = { settings: { initialWindowSize: 0 } };
  const unread = openRaw(grpc.port, 'ServerLive', {}, closed);
  unread.stream.end(Buffer.alloc(5));
  await unread.headers;
  const reflecting = openRaw(
    grpc.port,
    'ServerLive',
    { [constants.HTTP2_HEADER_PATH]: '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo' },
    closed,
  );
  const listServices = Buffer.from([0, 0, 0, 0, 2, 0x3a, 0]);
  reflecting.stream.write(Buffer.concat(Array.from({ length: 100 }, () => listServices)));
  await reflecting.headers;

  const metadata = { authorization: 'Bearer one' };
  const running = client.call('ModelInfer', held(), { metadata });
  await images.held(1);
  const drained = grpc.drain(0);
  images.release();
  expect(await running).toMatchObject({ model_name: 'captioning' });
  const isEach = (state: boolean) => [refused, unread, reflecting].map(() => state);
  const areDestroyed = () => [refused, unread, reflecting].map(({ session }) => session.destroyed);
  expect(areDestroyed()).toEqual(isEach(false));
  jumpClock(5_000);
  await drained;
  await expect.poll(areDestroyed).toEqual(isEach(true));
});
