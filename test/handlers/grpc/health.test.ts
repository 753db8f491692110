import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { expectStatus, type GrpcClient, HEALTH, INFERENCE, PROMPTS } from '../../support/grpc.ts';
import { doorsForTest, withDoors } from '../../support/with-server.ts';

const doors = withDoors({ apiTokens: ['one'] });

const check = (client: GrpcClient, name: string) => client.call('Check', { service: name }, { service: HEALTH });
const SERVING = { status: 'SERVING' };
const NOT_SERVING = { status: 'NOT_SERVING' };

describe('a check', () => {
  test.each(['', INFERENCE, PROMPTS, 'captioning'])('of "%s" needs no token', async (name) => {
    expect(await check(doors.client, name)).toEqual(SERVING);
  });

  test('of an unknown service is refused', async () => {
    const message = await expectStatus(check(doors.client, 'other'), 'NOT_FOUND', 'NOT_FOUND');
    expect(message).toContain('captioning');
  });

  test('of every service lists all of them', async () => {
    const services = ['', INFERENCE, PROMPTS, 'jina.JinaRPC', 'jina.JinaSingleDataRequestRPC', 'captioning'];
    const statuses = Object.fromEntries(services.map((name) => [name, SERVING]));
    expect(await doors.client.call('List', {}, { service: HEALTH })).toEqual({ statuses });
  });
});

describe('the status follows the model', () => {
  test('is NOT_SERVING before the model is loaded and after it is finalized, for watchers as well', async () => {
    const starting = await doorsForTest({}, { initialize: false });
    const watch = starting.client.watch('Watch', { service: '' }, { service: HEALTH });
    watch.on('error', () => undefined); // It is cancelled below.
    const next = async () => (await once(watch, 'data'))[0];
    expect(await next()).toEqual(NOT_SERVING);
    expect(await check(starting.client, '')).toEqual(NOT_SERVING);
    await Promise.all([starting.model.initialize(), expect(next()).resolves.toEqual(SERVING)]);
    expect(await check(starting.client, 'captioning')).toEqual(SERVING);
    await Promise.all([starting.model.finalize(), expect(next()).resolves.toEqual(NOT_SERVING)]);
    watch.cancel();
  });

  test('is SERVICE_UNKNOWN for a watcher of a model that is not loaded', async () => {
    const starting = await doorsForTest({}, { initialize: false });
    const watch = starting.client.watch('Watch', { service: 'captioning' }, { service: HEALTH });
    watch.on('error', () => undefined); // It is cancelled below.
    expect(await once(watch, 'data')).toEqual([{ status: 'SERVICE_UNKNOWN' }]);
    await Promise.all([starting.model.initialize(), expect(once(watch, 'data')).resolves.toEqual([SERVING])]);
    watch.cancel();
  });
});
