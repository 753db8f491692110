import { describe, expect, test } from 'vitest';
import { readSettings, settingDefinitions } from '../../pipeline/settings.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { thrownBy } from '../support/thrown.ts';

const shippedCheckpoint = '/package/checkpoints/scenes-captioning';

function read(environment: Readonly<Record<string, string | undefined>>, cpuCount = 8) {
  return readSettings({ environment, cpuCount, shippedCheckpoint });
}

const definitions = Object.values(settingDefinitions({ checkpoint: shippedCheckpoint, threadsPerWorker: 1 }));

const defaults = {
  checkpoint: shippedCheckpoint,
  modelName: undefined,
  imageSize: undefined,
  executionProvider: 'auto',
  workerCount: 1,
  threadsPerWorker: 8,
  maxBatchSize: 8,
  batchWindowMs: 5,
  maxQueueSize: 256,
  maxDecodedBytes: 600_000_000,
  imageTimeoutMs: 10_000,
  imageMaxBytes: 20_000_000,
  imageMaxPixels: 50_000_000,
  imageMaxSide: 16_384,
  imageMaxRedirects: 3,
  imageHttpsOnly: false,
  imageAllowedHosts: [],
  imagePrivateHosts: [],
  imageApplyExif: true,
};

describe('defaults', () => {
  test('hold where no variable is set', () => {
    expect(read({})).toEqual(defaults);
  });

  test('hold where variables are empty, or nothing but space', () => {
    const variables = definitions.map(({ variable }) => variable);
    expect(read(Object.fromEntries(variables.map((variable) => [variable, ''])))).toEqual(defaults);
    expect(read(Object.fromEntries(variables.map((variable) => [variable, ' \t'])))).toEqual(defaults);
  });

  test('hold beside variables of others', () => {
    expect(read({ PATH: '/usr/bin', BLIP_UNKNOWN: 'x', blip_workers: '7' })).toEqual(defaults);
  });

  test.each([
    [8, '2', 4],
    [8, '3', 2],
    [2, '8', 1],
    [1, '1', 1],
  ])('share %d CPUs among %s workers: %d threads each', (cpuCount, workers, threads) => {
    expect(read({ BLIP_WORKERS: workers }, cpuCount).threadsPerWorker).toBe(threads);
  });

  test('give way to the number of threads that is set', () => {
    expect(read({ BLIP_WORKERS: '2', BLIP_THREADS: '7' }, 8)).toMatchObject({ workerCount: 2, threadsPerWorker: 7 });
  });
});

describe('each variable', () => {
  const values = {
    BLIP_CHECKPOINT: ['checkpoint', '/models/blip', '/models/blip'],
    BLIP_MODEL_NAME: ['modelName', 'blip-large', 'blip-large'],
    BLIP_IMAGE_SIZE: ['imageSize', '480', 480],
    BLIP_EXECUTION_PROVIDER: ['executionProvider', 'cuda', 'cuda'],
    BLIP_WORKERS: ['workerCount', '4', 4],
    BLIP_THREADS: ['threadsPerWorker', '3', 3],
    BLIP_MAX_BATCH_SIZE: ['maxBatchSize', '16', 16],
    BLIP_BATCH_WINDOW_MS: ['batchWindowMs', '0', 0],
    BLIP_MAX_QUEUE_SIZE: ['maxQueueSize', '1', 1],
    BLIP_MAX_DECODED_BYTES: ['maxDecodedBytes', '1000000', 1_000_000],
    BLIP_IMAGE_TIMEOUT_MS: ['imageTimeoutMs', '2500', 2500],
    BLIP_IMAGE_MAX_BYTES: ['imageMaxBytes', '1000', 1000],
    BLIP_IMAGE_MAX_PIXELS: ['imageMaxPixels', '2000', 2000],
    BLIP_IMAGE_MAX_SIDE: ['imageMaxSide', '4096', 4096],
    BLIP_IMAGE_MAX_REDIRECTS: ['imageMaxRedirects', '0', 0],
    BLIP_IMAGE_HTTPS_ONLY: ['imageHttpsOnly', 'true', true],
    BLIP_IMAGE_ALLOWED_HOSTS: ['imageAllowedHosts', 'a.example, *.b.example', ['a.example', '*.b.example']],
    BLIP_IMAGE_PRIVATE_HOSTS: ['imagePrivateHosts', '127.0.0.1,,::1', ['127.0.0.1', '::1']],
    BLIP_IMAGE_APPLY_EXIF: ['imageApplyExif', 'false', false],
  } as const;

  test.each(Object.entries(values))('%s changes its own setting alone', (variable, [name, text, value]) => {
    const changed = { ...defaults, [name]: value };
    if (name === 'workerCount') changed.threadsPerWorker = 2; // 8 CPUs for 4 workers.
    expect(read({ [variable]: text })).toEqual(changed);
    expect(read({ [variable]: ` ${text}\n` })).toEqual(changed);
  });

  test('is listed above', () => {
    const variables = definitions.map(({ variable }) => variable);
    expect(variables.toSorted()).toEqual(Object.keys(values).toSorted());
  });

  test('says what it is for, and its default', () => {
    for (const { description, defaultText } of definitions) {
      expect(description).toMatch(/\.$/);
      expect(defaultText).not.toBe('');
    }
  });

  test.each(['auto', 'cpu', 'cuda', 'webgpu'])('BLIP_EXECUTION_PROVIDER may be %s', (provider) => {
    expect(read({ BLIP_EXECUTION_PROVIDER: provider }).executionProvider).toBe(provider);
  });

  test('times may be as long as a timer takes', () => {
    expect(read({ BLIP_IMAGE_TIMEOUT_MS: '2147483647' }).imageTimeoutMs).toBe(2_147_483_647);
  });

  test('BLIP_IMAGE_APPLY_EXIF may be true', () => {
    expect(read({ BLIP_IMAGE_APPLY_EXIF: 'true' }).imageApplyExif).toBe(true);
  });

  test.each(['blip', 'BLIP-large_2', 'clip-vit-b.32', 'x'.repeat(100)])('BLIP_MODEL_NAME may be %s', (name) => {
    expect(read({ BLIP_MODEL_NAME: name }).modelName).toBe(name);
  });

  test.each(['1', '384', '9999'])('BLIP_IMAGE_SIZE may be %s', (side) => {
    expect(read({ BLIP_IMAGE_SIZE: side }).imageSize).toBe(Number(side));
  });
});

describe('values that are not valid', () => {
  function expectInvalid(variable: string, text: string): void {
    const error = thrownBy(() => read({ [variable]: text }));
    expect(error).toBeInstanceOf(HandlerError);
    expect(error).toMatchObject({ code: 'SETTINGS_INVALID' });
    const { message } = error as HandlerError; // Two lines above.
    expect(message).toMatch(new RegExp(`^Expected ${variable} to be .+, got something else\\.$`));
  }

  const counts = [
    ['BLIP_WORKERS', 1],
    ['BLIP_THREADS', 1],
    ['BLIP_MAX_BATCH_SIZE', 1],
    ['BLIP_BATCH_WINDOW_MS', 0],
    ['BLIP_MAX_QUEUE_SIZE', 1],
    ['BLIP_MAX_DECODED_BYTES', 1],
    ['BLIP_IMAGE_TIMEOUT_MS', 1],
    ['BLIP_IMAGE_MAX_BYTES', 1],
    ['BLIP_IMAGE_MAX_PIXELS', 1],
    ['BLIP_IMAGE_MAX_SIDE', 1],
    ['BLIP_IMAGE_MAX_REDIRECTS', 0],
  ] as const;

  test.each(counts)('%s must be a whole number of at least %d', (variable, minimum) => {
    for (const text of [String(minimum - 1), '1.5', '1e3', '0x10', 'many', '+2', '1 000', '1_000', 'NaN', 'Infinity'])
      expectInvalid(variable, text);
    expectInvalid(variable, '9'.repeat(16)); // More than a number can count.
  });

  test.each([
    ['BLIP_EXECUTION_PROVIDER', 'tpu'],
    ['BLIP_EXECUTION_PROVIDER', 'CPU'],
    ['BLIP_MODEL_NAME', '..'],
    ['BLIP_MODEL_NAME', 'my blip'],
    ['BLIP_MODEL_NAME', 'blip/large'],
    ['BLIP_MODEL_NAME', 'blip?'],
    ['BLIP_MODEL_NAME', 'x'.repeat(101)],
    ['BLIP_IMAGE_SIZE', '0'],
    ['BLIP_IMAGE_SIZE', '10000'],
    ['BLIP_IMAGE_SIZE', '384.5'],
    ['BLIP_IMAGE_HTTPS_ONLY', '1'],
    ['BLIP_IMAGE_APPLY_EXIF', 'yes'],
    ['BLIP_IMAGE_APPLY_EXIF', '1'],
    ['BLIP_IMAGE_APPLY_EXIF', 'TRUE'],
    ['BLIP_IMAGE_ALLOWED_HOSTS', ','],
    ['BLIP_IMAGE_PRIVATE_HOSTS', ' , ,'],
    ['BLIP_IMAGE_TIMEOUT_MS', '2147483648'],
    ['BLIP_BATCH_WINDOW_MS', '2147483648'],
  ])('%s must not be %s', expectInvalid);

  test('are not repeated in the message, nor in what comes with it', () => {
    const error = thrownBy(() => read({ BLIP_WORKERS: 'a-token-in-the-wrong-place' }));
    expect(error).toBeInstanceOf(HandlerError);
    const { message, cause } = error as HandlerError; // The line above.
    expect(message).toContain('BLIP_WORKERS');
    expect(`${message} ${String(cause)}`).not.toContain('token');
  });

  test('name what is allowed', () => {
    expect(thrownBy(() => read({ BLIP_EXECUTION_PROVIDER: 'tpu' }))).toMatchObject({
      message: expect.stringContaining('one of auto, cpu, cuda, webgpu'),
    });
  });
});
