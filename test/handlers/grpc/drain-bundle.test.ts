import { once } from 'node:events';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { builtBundle } from '../../support/built-bundle.ts';
import {
  copyDist,
  runProgram,
  type ServerProcess,
  startServerProcess,
  type TemporaryBundle,
} from '../../support/bundle.ts';
import { grpcClient, HEALTH, type InferAnswer, tensorsOf, typedBytes } from '../../support/grpc.ts';
import { bytes, dataUri, postInference, readAnswer, send } from '../../support/server.ts';
import { imageServerForTest } from '../../support/with-server.ts';

/** HTTP and gRPC of one process, whose bundle lies beside nothing but its native packages. */

let bundle: TemporaryBundle;
beforeAll(() => {
  const nativePackages = ['onnxruntime-node', 'onnxruntime-common', 'sharp', '@img', 'detect-libc', 'semver'];
  bundle = copyDist(builtBundle(), nativePackages);
});
afterAll(() => bundle?.remove());

const requestFor = (image: string) => ({ model_name: 'captioning', inputs: [typedBytes('img_url', [image])] });

async function start(variables: Readonly<Record<string, string>>): Promise<ServerProcess & { readonly port: number }> {
  const server = await startServerProcess(bundle, variables);
  onTestFinished(async () => {
    server.kill('SIGKILL');
    await server.exit;
  });
  const line = server.log().find(({ msg }) => msg === 'gRPC listening');
  return { ...server, port: Number(line?.['port'] ?? 0) };
}

test('serves HTTP and gRPC, and on SIGTERM loses no call of either', async () => {
  const images = await imageServerForTest();
  const held = `${images.url}/held.png`;
  const server = await start({ BLIP_GRPC_PORT: '0' });
  const client = grpcClient(server.port);
  onTestFinished(() => client.close());
  const body = { inputs: [bytes('img_url', [dataUri('chelsea')])] };
  const answer = await client.call<InferAnswer>('ModelInfer', requestFor(dataUri('chelsea')));
  expect(tensorsOf(answer)).toEqual(readAnswer(await postInference(server.url, body)).outputs);
  const reflected = client.open('ServerReflectionInfo', { service: 'grpc.reflection.v1.ServerReflection' });
  reflected.write({ list_services: '' });
  expect(await once(reflected, 'data')).toMatchObject([{ message_response: 'list_services_response' }]);
  reflected.on('error', () => undefined); // It ends with the server.

  const running = Array.from({ length: 10 }, () => client.call('ModelInfer', requestFor(held)));
  const overHttp = postInference(server.url, { inputs: [bytes('img_url', [held])] });
  await images.held(11);
  server.kill('SIGTERM');
  await expect.poll(() => client.call('Check', {}, { service: HEALTH })).toEqual({ status: 'NOT_SERVING' });
  await client.call('ModelInfer', requestFor(dataUri('small')));
  images.release();
  expect(await Promise.all(running)).toHaveLength(10);
  readAnswer(await overHttp);
  expect(await server.exit).toMatchObject({ exitCode: 0, signal: null });
});

test('has no gRPC without a port for it', async () => {
  const server = await start({});
  expect(server.port).toBe(0);
  expect(await send(server.url, { path: '/v2/health/ready' })).toMatchObject({ status: 200 });
});

test('names the setting that keeps it from starting', async () => {
  const variables = { PORT: '0', LOG_LEVEL: 'silent', BLIP_GRPC_PORT: '0', BLIP_GRPC_TLS_CERT: '/no/such/file.pem' };
  const { exitCode, stderr } = await runProgram(bundle, 'serve.js', { variables });
  expect(exitCode).toBe(1);
  expect(stderr).toContain('BLIP_GRPC_TLS_KEY');
});
