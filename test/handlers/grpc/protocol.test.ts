import { status } from '@grpc/grpc-js';
import { describe, expect, onTestFinished, test } from 'vitest';
import { startGrpcServer } from '../../../handlers/grpc/server.ts';
import { createAdmission } from '../../../handlers/service/admission.ts';
import { createModels, finalizeModels } from '../../../handlers/service/model-loading.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { expectStatus, grpcClient, silentLog, startGrpc, typedBytes } from '../../support/grpc.ts';
import { dataUri, modelSettingsOf, send, serverTestSettings } from '../../support/server.ts';
import { doorsForTest, withDoors } from '../../support/with-server.ts';

const doors = withDoors();

const infer = { model_name: 'captioning', inputs: [typedBytes('img_url', [dataUri('small')])] };

describe('health', () => {
  test('is live and ready when the model is loaded', async () => {
    const { client } = doors;
    expect(await client.call('ServerLive')).toEqual({ live: true });
    expect(await client.call('ServerReady')).toEqual({ ready: true });
    expect(await client.call('ModelReady', { name: 'captioning' })).toEqual({ ready: true });
    expect(await client.call('ModelReady', { name: 'captioning', version: '1' })).toEqual({ ready: true });
  });

  test('is live and not ready before the model is loaded and after it is finalized', async () => {
    const starting = await doorsForTest({}, { initialize: false });
    const expectUnready = async () => {
      expect(await starting.client.call('ServerLive')).toEqual({ live: true });
      expect(await starting.client.call('ServerReady')).toEqual({ ready: false });
      expect(await starting.client.call('ModelReady', { name: 'captioning' })).toEqual({ ready: false });
      await expectStatus(starting.client.call('ModelInfer', infer), 'UNAVAILABLE', 'NOT_READY');
      await expectStatus(starting.client.call('ModelMetadata', { name: 'captioning' }), 'UNAVAILABLE', 'NOT_READY');
    };
    await expectUnready();
    await starting.model.initialize();
    expect(await starting.client.call('ServerReady')).toEqual({ ready: true });
    await starting.client.call('ModelInfer', infer);
    await starting.model.finalize();
    await expectUnready();
  });
});

describe('metadata', () => {
  test('of the service', async () => {
    expect(await doors.client.call('ServerMetadata')).toEqual({
      name: 'blip-handler',
      version: expect.stringMatching(/^\d+\.\d+\.\d+/),
      extensions: ['model_repository'],
    });
  });

  test('of the model, as over HTTP', async () => {
    const { text } = await send(doors.url, { path: '/v2/models/captioning' });
    const { parameters, ...overHttp } = JSON.parse(text);
    expect(parameters).toEqual({ precision: 'float32' });
    for (const version of ['', '1'])
      expect(await doors.client.call('ModelMetadata', { name: 'captioning', version })).toEqual({
        ...overHttp,
        properties: parameters,
      });
  });

  test('of the repository, as over HTTP', async () => {
    const path = '/v2/repository/index';
    const overHttp = JSON.parse((await send(doors.url, { method: 'POST', path })).text);
    expect(await doors.client.call('RepositoryIndex')).toEqual({ models: overHttp });
    expect(await doors.client.call('RepositoryIndex', { ready: true })).toEqual({ models: overHttp });
  });

  test('lists several models by name, and leaves out those that are not ready where only ready ones are requested', async () => {
    const settings = serverTestSettings({
      models: [
        { name: 'first', checkpoint: checkpointFolder('narrow-vision') },
        { name: 'second', checkpoint: checkpointFolder('answers-float32') },
      ],
    });
    const models = createModels(modelSettingsOf(settings), settings.models);
    const grpc = await startGrpc(models, settings);
    const client = grpcClient(grpc.port);
    onTestFinished(async () => {
      client.close();
      grpc.close();
      await finalizeModels(models);
    });
    await models[0]?.initialize();
    const entry = (name: string, state: string, reason: string) => ({ name, version: '1', state, reason });
    const ready = entry('first', 'READY', '');
    expect(await client.call('RepositoryIndex', { ready: true })).toEqual({ models: [ready] });
    expect(await client.call('RepositoryIndex')).toEqual({
      models: [ready, entry('second', 'UNAVAILABLE', 'not loaded')],
    });
    expect(await client.call('ModelReady', { name: 'first' })).toEqual({ ready: true });
    expect(await client.call('ModelReady', { name: 'second' })).toEqual({ ready: false });
    expect(await client.call('ServerReady')).toEqual({ ready: false });
    expect(await client.call('ModelInfer', { ...infer, model_name: 'first' })).toMatchObject({ model_name: 'first' });
    await expectStatus(client.call('ModelInfer', { ...infer, model_name: 'second' }), 'UNAVAILABLE', 'NOT_READY');
  });
});

describe('NOT_FOUND and UNIMPLEMENTED', () => {
  test.each([
    ['ModelReady', (name: string, version: string) => ({ name, version })],
    ['ModelMetadata', (name: string, version: string) => ({ name, version })],
    ['ModelInfer', (model_name: string, model_version: string) => ({ ...infer, model_name, model_version })],
  ])('answer %s of unknown models and versions', async (method, request) => {
    const other = await expectStatus(doors.client.call(method, request('other', '')), 'NOT_FOUND', 'NOT_FOUND');
    expect(other).toMatch(/^Request for unknown model: 'other' is not found/);
    const version = await expectStatus(doors.client.call(method, request('captioning', '2')), 'NOT_FOUND', 'NOT_FOUND');
    expect(version).toContain('version 2');
  });

  test('answer a method that this server lacks', async () => {
    const { Client, credentials } = await import('@grpc/grpc-js');
    const client = new Client(`127.0.0.1:${doors.grpc.port}`, credentials.createInsecure());
    onTestFinished(() => client.close());
    const path = '/inference.GRPCInferenceService/ModelConfig';
    const bytes = () => Buffer.alloc(0);
    const failed = new Promise((_resolve, reject) => client.makeUnaryRequest(path, bytes, bytes, {}, reject));
    await expect(failed).rejects.toMatchObject({ code: status.UNIMPLEMENTED });
  });
});

test('a port that is not free is named, with its setting', async () => {
  const occupied = await startGrpc([], serverTestSettings());
  onTestFinished(() => occupied.close());
  const settings = serverTestSettings({ grpcPort: occupied.port });
  const options = { models: [], settings, host: '127.0.0.1', log: silentLog, admission: createAdmission(settings) };
  await expect(startGrpcServer(options)).rejects.toMatchObject({
    code: 'SETTINGS_INVALID',
    message: expect.stringMatching(`^Expected BLIP_GRPC_PORT ${occupied.port} to be `),
  });
});
