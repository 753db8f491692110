import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import Handler from '../../../../app.ts';
import { createServer } from '../../../../handlers/http/server.ts';
import { createAdmission } from '../../../../handlers/service/admission.ts';
import { createMetrics } from '../../../../handlers/service/metrics.ts';
import {
  bytes,
  dataUri,
  expectError,
  modelSettingsOf,
  postInference,
  send,
  serverTestSettings,
} from '../../../support/server.ts';
import { serverForTest } from '../../../support/with-server.ts';

const settings = serverTestSettings({ imageCacheBytes: 1_000_000 });
const model = new Handler(modelSettingsOf(settings));
const server = createServer([model], settings, createAdmission(settings), Promise.resolve(createMetrics([model])));
let url: string;

beforeAll(async () => {
  await Promise.all([server.listen({ host: '127.0.0.1', port: 0 }), model.initialize()]);
  url = `http://127.0.0.1:${(server.server.address() as AddressInfo).port}`; // It listens on a port.
});
afterAll(async () => {
  await server.close();
  await model.finalize();
});

const get = (path: string, headers = {}) => send(url, { path, headers });
const chelsea = bytes('img_url', [dataUri('chelsea')]);

/** The samples of a metric: their labels, and values. */
async function samples(name: string): Promise<Readonly<Record<string, number>>> {
  const { text } = await get('/metrics');
  const lines = text.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
  return Object.fromEntries(
    lines.map((line) => [line.slice(name.length, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]),
  );
}

describe('metrics', () => {
  test('count requests by outcome, with their stages, tokens and batches', async () => {
    const before = await samples('blip_generated_tokens_total');
    await postInference(url, { inputs: [chelsea], parameters: { max_new_tokens: 3 } });
    await postInference(url, {
      inputs: [bytes('img_url', [dataUri('rocket'), '####'])],
      parameters: { max_new_tokens: 3 },
    });
    await postInference(url, { inputs: [bytes('img_url', ['####'])] });
    await postInference(url, { inputs: [bytes('text', ['a'])] });
    expect(await samples('blip_requests_total')).toEqual({
      '{model="captioning",code="ok"}': 2,
      '{model="captioning",code="IMAGE_SOURCE_INVALID"}': 1,
      '{model="captioning",code="INVALID_INPUT"}': 1,
    });
    expect(await samples('blip_failed_items_total')).toEqual({ '{model="captioning",code="IMAGE_SOURCE_INVALID"}': 1 });
    const tokens = await samples('blip_generated_tokens_total');
    expect(Object.values(tokens)[0]).toBe((Object.values(before)[0] ?? 0) + 6);
    expect(await samples('blip_request_seconds_count')).toEqual({ '{model="captioning"}': 2 });
    expect(await samples('blip_batch_items_sum')).toEqual({ '{model="captioning"}': 2 });
    const stages = await samples('blip_stage_seconds_count');
    expect(Object.keys(stages).sort()).toEqual(
      ['compute', 'decode', 'fetch', 'queue', 'resize'].map((stage) => `{model="captioning",stage="${stage}"}`),
    );
    expect(await samples('blip_queue_items')).toEqual({ '{model="captioning"}': 0 });
    expect(await samples('blip_model_ready')).toEqual({ '{model="captioning"}': 1 });
    expect(Object.values(await samples('blip_model_load_seconds'))[0]).toBeGreaterThan(0);
    expect(Object.keys(await samples('process_resident_memory_bytes'))).toHaveLength(1);
  });

  test('count the images that the cache knew, and the bytes that it keeps', async () => {
    const about = async (picture: Parameters<typeof dataUri>[0]) =>
      await postInference(url, { inputs: [bytes('img_url', [dataUri(picture)])], parameters: { max_new_tokens: 3 } });
    const images = async (result: string) =>
      (await samples('blip_image_cache_images_total'))[`{model="captioning",result="${result}"}`] ?? 0;
    await about('chelsea');
    const [hits, misses] = [await images('hit'), await images('miss')];
    await about('chelsea');
    await about('chelsea');
    expect([await images('hit'), await images('miss')]).toEqual([hits + 2, misses]);
    const [kept = 0] = Object.values(await samples('blip_image_cache_bytes'));
    expect(kept).toBeGreaterThan(0);
  });

  test('count every answer by its status, even where no model was asked', async () => {
    await get('/nothing');
    const answers = await samples('blip_answers_total');
    expect(answers['{door="http",status="404"}']).toBeGreaterThan(0);
    expect(answers['{door="http",status="200"}']).toBeGreaterThan(0);
  });

  test('count requests that no route takes', async () => {
    const bad = async () => (await samples('blip_answers_total'))['{door="http",status="400"}'] ?? 0;
    const before = await bad();
    expect((await get('/v2/models/%ff', { 'x-request-id': 'abc-1' })).headers['x-request-id']).toBe('abc-1');
    expect(await bad()).toBe(before + 1);
    const socket = net.connect(Number(new URL(url).port), '127.0.0.1');
    socket.resume().write('HELLO\r\n\r\n');
    await once(socket, 'close');
    expect(await bad()).toBe(before + 2);
  });

  test('have the format that Prometheus reads', async () => {
    const { headers, text } = await get('/metrics');
    expect(headers['content-type']).toMatch(/^text\/plain; version=0\.0\.4/);
    expect(text).toMatch(/# TYPE blip_request_seconds histogram/);
    expect(text).not.toMatch(/NaN|undefined/);
  });

  test('are not found where the process collects none', async () => {
    const plain = await serverForTest({}, { initialize: false });
    expectError(await send(plain.url, { path: '/metrics' }), 404, 'NOT_FOUND');
  });
});

test("statistics are Triton's", async () => {
  const statistics = async () => JSON.parse((await get('/v2/models/captioning/stats')).text).model_stats[0];
  const before = await statistics();
  await postInference(url, { inputs: [bytes('img_url', [dataUri('chelsea'), dataUri('rocket')])] });
  await postInference(url, { inputs: [bytes('img_url', ['####'])] });
  const after = await statistics();
  expect(after).toMatchObject({ name: 'captioning', version: '1', inference_count: before.inference_count + 2 });
  expect(after.last_inference).toBeGreaterThan(Date.now() - 60_000);
  expect(after.inference_stats.success.count).toBe(before.inference_stats.success.count + 1);
  expect(after.inference_stats.fail.count).toBe(before.inference_stats.fail.count + 1);
  expect(after.inference_stats.compute_infer.ns).toBeGreaterThan(before.inference_stats.compute_infer.ns);
  const runs = after.batch_stats.reduce(
    (sum: number, { compute_infer: { count } }: { compute_infer: { count: number } }) => sum + count,
    0,
  );
  expect(runs).toBe(after.execution_count);
  expect(JSON.parse((await get('/v2/models/stats')).text).model_stats).toHaveLength(1);
  expectError(await get('/v2/models/other/stats'), 404, 'NOT_FOUND');
});

describe('requests', () => {
  test('answer with their own id, if it may stand in a log', async () => {
    expect((await get('/v2', { 'x-request-id': 'abc-1' })).headers['x-request-id']).toBe('abc-1');
    const made = (await get('/v2', { 'x-request-id': 'a b\tc' })).headers['x-request-id'];
    expect(made).toMatch(/^[\da-f-]{36}$/);
    expect((await get('/v2', { 'x-request-id': 'x'.repeat(200) })).headers['x-request-id']).toMatch(/^[\da-f-]{36}$/);
  });
});
