import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, type MockInstance, test, vi } from 'vitest';
import Handler from '../../../app.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { failureOf, httpResultOf, responseOf, startFunction } from '../../support/lambda.ts';
import { functionUrlEvent } from '../../support/lambda-events.ts';
import { bytes, dataUri, INFER_PATH } from '../../support/server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { imageServerForTest } from '../../support/with-server.ts';

/** Models are loaded once; a load that fails is reported and tried again; nothing waits longer than the function may. */

const request = { inputs: [bytes('img_url', [dataUri('small')])] };
let initialize: MockInstance<Handler['initialize']>;

beforeEach(() => {
  initialize = vi.spyOn(Handler.prototype, 'initialize');
});

describe('loading', () => {
  test('happens once for many invocations at the same time', async () => {
    const served = startFunction();
    const early = served.environment.load();
    const answers = await Promise.all([
      served.invoke(request),
      served.invoke(functionUrlEvent({ path: INFER_PATH, body: request })),
      served.invoke(request),
      early,
    ]);
    const { model } = served.environment.models[0] ?? {};
    await served.invoke(request);
    expect(served.environment.models[0]?.model).toBe(model);
    await served.close();
    expect(initialize).toHaveBeenCalledTimes(1);
    expect(responseOf(answers[0])).toEqual(responseOf(answers[2]));
    expect(httpResultOf(answers[1]).statusCode).toBe(200);
  });

  test('begins with the first invocation, unless it began earlier', async () => {
    const served = startFunction();
    expect(initialize).not.toHaveBeenCalled();
    expect(responseOf(await served.invoke(request)).outputs).toHaveLength(1);
    await served.close();
  });

  test('that fails is reported by each invocation, and tried again by the next', async () => {
    const checkpoint = join(temporaryFolder(), 'checkpoint');
    const served = startFunction({ checkpoint });
    const answers = await Promise.all([failureOf(served.invoke(request)), failureOf(served.invoke(request))]);
    for (const answer of answers) {
      expect(answer).toEqual({ errorType: 'CHECKPOINT_NOT_FOUND', errorMessage: expect.stringContaining(checkpoint) });
    }
    expect(initialize).toHaveBeenCalledTimes(1);
    expect(await failureOf(served.invoke(request))).toMatchObject({ errorType: 'CHECKPOINT_NOT_FOUND' });
    expect(initialize).toHaveBeenCalledTimes(2);
    cpSync(checkpointFolder('narrow-vision'), checkpoint, { recursive: true });
    expect(responseOf(await served.invoke(request)).outputs).toHaveLength(1);
    await served.close();
  });

  test('that fails is status 503 over HTTP, without the name of a folder', async () => {
    const served = startFunction({ checkpoint: '/srv/private/checkpoint' });
    for (const path of [INFER_PATH, '/v2/health/ready', '/v2']) {
      const answer = httpResultOf(await served.invoke(functionUrlEvent({ path })));
      expect(answer).toMatchObject({ statusCode: 503, headers: { 'retry-after': '1' } });
      expect(JSON.parse(answer.body)).toEqual({
        error: 'Expected the models to load, got CHECKPOINT_NOT_FOUND. The log says more.',
        code: 'NOT_READY',
      });
    }
  });

  test('fails as a whole where one model fails', async () => {
    const models = [
      { name: 'good', checkpoint: checkpointFolder('narrow-vision') },
      { name: 'bad', checkpoint: '/nowhere' },
    ];
    const served = startFunction({ models });
    const answer = await failureOf(served.invoke({ model_name: 'good', ...request }));
    await served.close();
    expect(answer.errorType).toBe('CHECKPOINT_NOT_FOUND');
  });
});

describe('the remaining time', () => {
  test('ends an invocation whose load takes too long before Lambda kills it; the load goes on', async () => {
    const served = startFunction();
    initialize.mockImplementationOnce(() => new Promise(() => undefined));
    expect(await failureOf(served.invoke(request, 700))).toEqual({
      errorType: 'NOT_READY',
      errorMessage: expect.stringMatching(/^Expected the models to load in the \d+ ms left/),
    });
    const answer = httpResultOf(await served.invoke(functionUrlEvent({ path: '/v2' }), 700));
    expect(answer.statusCode).toBe(503);
    expect(initialize).toHaveBeenCalledTimes(1);
  });

  test('ends an invocation whose answer takes too long as well, and drops its request', async () => {
    const images = await imageServerForTest();
    const served = startFunction();
    await served.environment.load();
    const slow = { inputs: [bytes('img_url', [`${images.url}/held.png`])] };
    const queuedItems = () => served.environment.models[0]?.model?.queuedItems();
    expect(await failureOf(served.invoke(slow, 800))).toEqual({
      errorType: 'DEADLINE_EXCEEDED',
      errorMessage: expect.stringMatching(/^Expected the answer within \d+ ms/),
    });
    await expect.poll(queuedItems).toBe(0);
    const answer = httpResultOf(await served.invoke(functionUrlEvent({ path: INFER_PATH, body: slow }), 800));
    expect(answer.statusCode).toBe(504);
    expect(JSON.parse(answer.body)).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    await expect.poll(queuedItems).toBe(0);
    images.release();
    expect(responseOf(await served.invoke(slow)).outputs).toHaveLength(1);
    await served.close();
  });
});

describe('close', () => {
  test('releases the models', async () => {
    const served = startFunction();
    await served.invoke(request);
    await served.close();
    expect(served.environment.models[0]?.model).toBeUndefined();
  });
});
