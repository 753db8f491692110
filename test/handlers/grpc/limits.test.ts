import net from 'node:net';
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { Acceptor } from '../../../handlers/grpc/acceptor.ts';
import { CallLimit } from '../../../handlers/grpc/call-limit.ts';
import { startGrpcServer } from '../../../handlers/grpc/server.ts';
import { createAdmission } from '../../../handlers/service/admission.ts';
import { ConnectionTable } from '../../../handlers/service/connection-table.ts';
import { grpcClient, messageFrame, openRaw, silentLog, startGrpc } from '../../support/grpc.ts';
import { dataUri, serverTestSettings } from '../../support/server.ts';
import { doorsForTest } from '../../support/with-server.ts';

const HEALTH = 'grpc.health.v1.Health';

function connect(port: number): net.Socket {
  const socket = net.connect(port, '127.0.0.1');
  socket.on('error', () => undefined).resume();
  onTestFinished(() => void socket.destroy());
  return socket;
}

describe('connections', () => {
  afterEach(() => void vi.useRealTimers());

  test('that say nothing, or too little, are closed after 15 s; others stay', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const injectConnection = vi.fn((socket: net.Socket) => void socket.resume());
    const acceptor = new Acceptor({ injectConnection } as never, new ConnectionTable(100, silentLog));
    onTestFinished(() => acceptor.close());
    const port = await acceptor.listen('127.0.0.1', 0);
    const sockets = ['', 'PRI * HTTP/2.0', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'].map((text) => {
      const socket = connect(port);
      socket.write(text);
      return socket;
    });
    await vi.waitFor(() =>
      expect(injectConnection.mock.calls.map(([{ bytesRead }]) => bytesRead)).toEqual([0, 14, 24]),
    );
    vi.advanceTimersByTime(15_000);
    await vi.waitFor(() => expect(sockets.map(({ destroyed }) => destroyed)).toEqual([true, true, false]));
  });

  test('of strangers give way at the maximum, and calls of others are answered', async () => {
    const settings = serverTestSettings({ maxConnections: 16, grpcPort: 0 });
    const grpc = await startGrpc([], settings);
    onTestFinished(() => grpc.close());
    const silent = Array.from({ length: 40 }, () => connect(grpc.port));
    await expect.poll(() => silent.filter(({ destroyed }) => destroyed).length).toBeGreaterThanOrEqual(24);
    const client = grpcClient(grpc.port);
    onTestFinished(() => client.close());
    expect(await client.call('ServerLive', {})).toEqual({ live: true });
  });

  test('to localhost are accepted on every address that it has', async () => {
    const settings = serverTestSettings({ grpcPort: 0 });
    const admission = createAdmission(settings);
    const grpc = await startGrpcServer({ models: [], settings, host: 'localhost', log: silentLog, admission });
    onTestFinished(() => grpc.close());
    const client = grpcClient(grpc.port);
    onTestFinished(() => client.close());
    expect(await client.call('ServerLive', {})).toEqual({ live: true });
  });
});

describe('calls that are left open', () => {
  test('the oldest one ends when there are too many', () => {
    const limit = new CallLimit(2);
    const ended: string[] = [];
    const calls = ['a', 'b', 'c', 'd'].map((name) => ({ name }));
    for (const call of calls) limit.add(call, () => void ended.push(call.name));
    expect(ended).toEqual(['a', 'b']);
    limit.delete(calls[2] ?? {});
    limit.add({}, () => undefined);
    expect(ended).toEqual(['a', 'b']);
  });

  test('more than a thousand watches of health: the oldest end with RESOURCE_EXHAUSTED, checks are answered', async () => {
    const grpc = await startGrpc([], serverTestSettings({ grpcPort: 0 }));
    onTestFinished(() => grpc.close());
    const codes: (number | undefined)[] = [];
    let answeredCount = 0;
    for (let index = 0; index < 11; index += 1) {
      const client = grpcClient(grpc.port, undefined, { 'grpc.use_local_subchannel_pool': 1 });
      onTestFinished(() => client.close());
      for (let count = 0; count < 100; count += 1) {
        const watch = client.watch('Watch', {}, { service: HEALTH });
        watch.on('error', ({ code }: { code?: number }) => void codes.push(code));
        watch.on('data', () => {
          answeredCount += 1;
        });
      }
    }
    await expect.poll(() => answeredCount, { timeout: 30_000 }).toBe(1_100);
    await expect.poll(() => codes.length).toBeGreaterThanOrEqual(76);
    expect(new Set(codes)).toEqual(new Set([8]));
    const client = grpcClient(grpc.port);
    onTestFinished(() => client.close());
    expect(await client.call('Check', {}, { service: HEALTH })).toMatchObject({ status: 'SERVING' });
  });
});

describe('messages that arrive', () => {
  const request = {
    model_name: 'captioning',
    inputs: [
      { name: 'img_url', datatype: 'BYTES', shape: [1], contents: { bytes_contents: [Buffer.from(dataUri('small'))] } },
    ],
  };
  const infer = { authorization: 'Bearer one' };

  test('count until they are whole; when their clients leave there is room again', async () => {
    const { client, grpc } = await doorsForTest({ apiTokens: ['one'], maxHeldBodyBytes: 100_000 });
    const frame = messageFrame('ModelInfer', { ...request, id: 'x'.repeat(200_000) });
    const [half, more] = [openRaw(grpc.port, 'ModelInfer', infer), openRaw(grpc.port, 'ModelInfer', infer)];
    half.stream.write(frame.subarray(0, 99_900));
    const ask = () =>
      client.call('ModelInfer', request, { metadata: infer }).then(
        () => 0,
        ({ code }) => code,
      );
    await expect.poll(ask).toBe(8);
    more.stream.write(frame.subarray(0, 50_000));
    expect(await more.headers).toMatchObject({ 'grpc-status': '8', 'error-code': 'OVERLOADED' });
    half.session.destroy();
    await expect.poll(ask).toBe(0);
  });

  test('of a stream count alone', async () => {
    const { client } = await doorsForTest({ apiTokens: ['one'], maxHeldBodyBytes: 100_000 });
    const stream = client.open('ModelStreamInfer', { metadata: infer });
    const answers: object[] = [];
    stream.on('data', (answer: object) => void answers.push(answer));
    stream.on('error', () => undefined);
    for (const id of ['1', '2', '3', '4', '5']) {
      stream.write({ ...request, id: id.repeat(60_000) });
      await expect.poll(() => answers.length).toBe(Number(id));
    }
    expect(answers.map((answer) => ('error_message' in answer ? answer.error_message : undefined))).toEqual(
      Array(5).fill(''),
    );
    stream.cancel();
  });
});
