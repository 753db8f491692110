import { describe, expect, test } from 'vitest';
import { anySettingDefinitions, readSettings, type Settings } from '../../pipeline/settings.ts';
import { type SettingsReader, testDefaults, testInvalidValues, testVariables } from '../support/settings-reader.ts';
import { thrownBy } from '../support/thrown.ts';

const shippedCheckpoint = '/package/checkpoints/scenes-captioning';

function read(environment: Readonly<Record<string, string | undefined>>) {
  return readSettings({ environment, shippedCheckpoint });
}

const defaults = {
  checkpoint: shippedCheckpoint,
  modelName: undefined,
  preset: undefined,
  imageSize: undefined,
  executionProvider: 'auto',
  precision: 'auto',
  deviceIds: [],
  optimizeFor: 'latency',
  weights: 'auto',
  workerCount: 'auto',
  threadsPerWorker: 'auto',
  maxBatchSize: 'auto',
  batchWindowMs: 5,
  maxQueueSize: 256,
  maxItemsPerRequest: undefined,
  maxSequencesPerRequest: 65_536,
  maxSequencesPerToken: 65_536,
  maxBeams: 32,
  maxNewTokens: undefined,
  maxRunBytes: undefined,
  runLimitMs: 120_000,
  maxDecodedBytes: 600_000_000,
  imageCacheBytes: 0,
  imageTimeoutMs: 10_000,
  imageMaxBytes: 20_000_000,
  imageMaxPixels: 50_000_000,
  imageMaxSide: 16_384,
  imageDecodeTimeoutMs: 10_000,
  imageMaxRedirects: 20,
  imageHttpsOnly: false,
  imageAllowedHosts: [],
  imagePrivateHosts: [],
  imageNameServers: [],
  imageUserAgent: undefined,
  imageApplyExif: true,
};

const reader: SettingsReader = {
  read,
  definitions: Object.values(anySettingDefinitions()),
  defaults,
};

describe('defaults', () => {
  testDefaults(reader);

  test('for throughput give way to what is set', () => {
    const settings = read({ BLIP_OPTIMIZE_FOR: 'throughput', BLIP_BATCH_WINDOW_MS: '0' });
    expect(settings).toMatchObject({ batchWindowMs: 0 });
  });
});

describe('each variable', () => {
  testVariables(reader, {
    BLIP_CHECKPOINT: ['/models/blip', { checkpoint: '/models/blip' }],
    BLIP_MODEL_NAME: ['blip-large', { modelName: 'blip-large' }],
    BLIP_PRESET: ['bentoblip', { preset: 'bentoblip' }],
    BLIP_IMAGE_SIZE: ['480', { imageSize: 480 }],
    BLIP_EXECUTION_PROVIDER: ['cuda', { executionProvider: 'cuda' }],
    BLIP_PRECISION: ['bfloat16', { precision: 'bfloat16' }],
    BLIP_DEVICES: ['1, 0', { deviceIds: [1, 0] }],
    BLIP_OPTIMIZE_FOR: ['throughput', { optimizeFor: 'throughput', batchWindowMs: 20 }],
    BLIP_WEIGHTS: ['packed', { weights: 'packed' }],
    BLIP_WORKERS: ['4', { workerCount: 4 }],
    BLIP_THREADS: ['3', { threadsPerWorker: 3 }],
    BLIP_MAX_BATCH_SIZE: ['16', { maxBatchSize: 16 }],
    BLIP_BATCH_WINDOW_MS: ['0', { batchWindowMs: 0 }],
    BLIP_MAX_QUEUE_SIZE: ['1', { maxQueueSize: 1 }],
    BLIP_MAX_ITEMS_PER_REQUEST: ['16', { maxItemsPerRequest: 16 }],
    BLIP_MAX_SEQUENCES_PER_REQUEST: ['100', { maxSequencesPerRequest: 100 }],
    BLIP_MAX_SEQUENCES_PER_TOKEN: ['200', { maxSequencesPerToken: 200 }],
    BLIP_MAX_BEAMS: ['5', { maxBeams: 5 }],
    BLIP_MAX_NEW_TOKENS: ['50', { maxNewTokens: 50 }],
    BLIP_MAX_RUN_BYTES: ['500000000', { maxRunBytes: 500_000_000 }],
    BLIP_RUN_LIMIT_MS: ['30000', { runLimitMs: 30_000 }],
    BLIP_MAX_DECODED_BYTES: ['1000000', { maxDecodedBytes: 1_000_000 }],
    BLIP_IMAGE_CACHE_BYTES: ['500000000', { imageCacheBytes: 500_000_000 }],
    BLIP_IMAGE_TIMEOUT_MS: ['2500', { imageTimeoutMs: 2500 }],
    BLIP_IMAGE_MAX_BYTES: ['1000', { imageMaxBytes: 1000 }],
    BLIP_IMAGE_MAX_PIXELS: ['2000', { imageMaxPixels: 2000 }],
    BLIP_IMAGE_MAX_SIDE: ['4096', { imageMaxSide: 4096 }],
    BLIP_IMAGE_DECODE_TIMEOUT_MS: ['500', { imageDecodeTimeoutMs: 500 }],
    BLIP_IMAGE_MAX_REDIRECTS: ['0', { imageMaxRedirects: 0 }],
    BLIP_IMAGE_HTTPS_ONLY: ['true', { imageHttpsOnly: true }],
    BLIP_IMAGE_ALLOWED_HOSTS: ['a.example, *.b.example', { imageAllowedHosts: ['a.example', '*.b.example'] }],
    BLIP_IMAGE_PRIVATE_HOSTS: ['127.0.0.1,,::1', { imagePrivateHosts: ['127.0.0.1', '::1'] }],
    BLIP_IMAGE_NAME_SERVERS: ['9.9.9.9, [::1]:5353', { imageNameServers: ['9.9.9.9', '[::1]:5353'] }],
    BLIP_IMAGE_USER_AGENT: ['captions (me@example.com)', { imageUserAgent: 'captions (me@example.com)' }],
    BLIP_IMAGE_APPLY_EXIF: ['false', { imageApplyExif: false }],
  });

  test.each(['system', '::1', '9.9.9.9:53,::1'])('BLIP_IMAGE_NAME_SERVERS may be %s', (servers) => {
    expect(String(read({ BLIP_IMAGE_NAME_SERVERS: servers }).imageNameServers)).toBe(servers);
  });

  test.each(['auto', 'cpu', 'cuda', 'webgpu'])('BLIP_EXECUTION_PROVIDER may be %s', (provider) => {
    expect(read({ BLIP_EXECUTION_PROVIDER: provider }).executionProvider).toBe(provider);
  });

  test.each(['BLIP_MAX_BATCH_SIZE', 'BLIP_WORKERS', 'BLIP_THREADS'])('%s may be auto', (variable) => {
    expect(read({ [variable]: 'auto' })).toEqual(read({}));
  });

  test.each(['auto', 'mapped', 'packed', 'packed-when-idle'])('BLIP_WEIGHTS may be %s', (weights) => {
    expect(read({ BLIP_WEIGHTS: weights }).weights).toBe(weights);
  });

  test('BLIP_OPTIMIZE_FOR may be latency', () => {
    expect(read({ BLIP_OPTIMIZE_FOR: 'latency' })).toEqual(read({}));
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
  testInvalidValues(reader, {
    counts: [
      ['BLIP_WORKERS', 1],
      ['BLIP_THREADS', 1],
      ['BLIP_BATCH_WINDOW_MS', 0],
      ['BLIP_MAX_QUEUE_SIZE', 1],
      ['BLIP_MAX_SEQUENCES_PER_REQUEST', 1],
      ['BLIP_MAX_SEQUENCES_PER_TOKEN', 1],
      ['BLIP_MAX_BEAMS', 1],
      ['BLIP_MAX_RUN_BYTES', 1],
      ['BLIP_RUN_LIMIT_MS', 1],
      ['BLIP_MAX_DECODED_BYTES', 1],
      ['BLIP_IMAGE_TIMEOUT_MS', 1],
      ['BLIP_IMAGE_MAX_BYTES', 1],
      ['BLIP_IMAGE_MAX_PIXELS', 1],
      ['BLIP_IMAGE_MAX_SIDE', 1],
      ['BLIP_IMAGE_DECODE_TIMEOUT_MS', 1],
      ['BLIP_IMAGE_MAX_REDIRECTS', 0],
    ],
    texts: [
      ['BLIP_EXECUTION_PROVIDER', 'tpu'],
      ['BLIP_EXECUTION_PROVIDER', 'CPU'],
      ...['half', 'fp16', 'FLOAT16'].map((text) => ['BLIP_PRECISION', text] as const),
      ...['0,', '-1', '0,0', 'all', '0 1', ',', '1.5', '1000'].map((text) => ['BLIP_DEVICES', text] as const),
      ...['0', '1.5', '+2', 'many', 'AUTO', '1e3'].map((text) => ['BLIP_MAX_BATCH_SIZE', text] as const),
      ['BLIP_PRESET', 'other'],
      ['BLIP_MODEL_NAME', '..'],
      ['BLIP_MODEL_NAME', 'my blip'],
      ['BLIP_MODEL_NAME', 'blip/large'],
      ['BLIP_MODEL_NAME', 'blip?'],
      ['BLIP_MODEL_NAME', 'x'.repeat(101)],
      ['BLIP_IMAGE_SIZE', '0'],
      ['BLIP_IMAGE_SIZE', '10000'],
      ['BLIP_IMAGE_SIZE', '384.5'],
      ['BLIP_IMAGE_HTTPS_ONLY', '1'],
      ['BLIP_IMAGE_NAME_SERVERS', 'dns.example.com'],
      ['BLIP_IMAGE_NAME_SERVERS', '9.9.9.9,'],
      ['BLIP_IMAGE_NAME_SERVERS', '9.9.9.9:65536'],
      ['BLIP_IMAGE_NAME_SERVERS', '::1:'],
      ['BLIP_IMAGE_NAME_SERVERS', 'system, 9.9.9.9'],
      ['BLIP_IMAGE_USER_AGENT', 'bücher'],
      ['BLIP_IMAGE_USER_AGENT', 'x'.repeat(257)],
      ['BLIP_IMAGE_APPLY_EXIF', 'yes'],
      ['BLIP_IMAGE_APPLY_EXIF', '1'],
      ['BLIP_IMAGE_APPLY_EXIF', 'TRUE'],
      ['BLIP_IMAGE_ALLOWED_HOSTS', ','],
      ['BLIP_IMAGE_PRIVATE_HOSTS', ' , ,'],
      ['BLIP_IMAGE_TIMEOUT_MS', '2147483648'],
      ['BLIP_BATCH_WINDOW_MS', '2147483648'],
    ],
    secrets: { BLIP_WORKERS: 'a-token-in-the-wrong-place' },
  });

  test.each(['cpu', 'webgpu'])('BLIP_DEVICES is refused where %s computes', (provider) => {
    expect(thrownBy(() => read({ BLIP_EXECUTION_PROVIDER: provider, BLIP_DEVICES: '0' }))).toMatchObject({
      code: 'SETTINGS_INVALID',
      message: `Expected BLIP_EXECUTION_PROVIDER to be auto or cuda where BLIP_DEVICES is set, got ${provider}.`,
    });
  });

  test('name what is allowed', () => {
    expect(thrownBy(() => read({ BLIP_EXECUTION_PROVIDER: 'tpu' }))).toMatchObject({
      message: expect.stringContaining('one of auto, cpu, cuda, webgpu'),
    });
  });
});

describe('settings in code', () => {
  const choose = (chosen: Partial<Settings>, environment: Readonly<Record<string, string>> = {}) =>
    readSettings({ environment, shippedCheckpoint, chosen });

  test('come before variables, and the others from variables, and from defaults where there are none', () => {
    const environment = { BLIP_CHECKPOINT: '/of/variable', BLIP_WORKERS: '2' };
    expect(choose({ checkpoint: '/of/code' }, environment)).toEqual({
      ...defaults,
      checkpoint: '/of/code',
      workerCount: 2,
    });
  });

  test('of every kind may be chosen', () => {
    const chosen: Partial<Settings> = {
      modelName: 'captions',
      maxBatchSize: 'auto',
      workerCount: 3,
      deviceIds: [0, 2],
      weights: 'packed',
      imageApplyExif: false,
      imageAllowedHosts: ['example.com', '*.example.org'],
      imageNameServers: 'system',
      imageUserAgent: 'pictures/1.0 (me@example.com)',
      maxNewTokens: 12,
    };
    expect(choose(chosen)).toEqual({ ...defaults, ...chosen });
  });

  test('need not have valid variables', () => {
    expect(choose({ workerCount: 1 }, { BLIP_WORKERS: 'many' }).workerCount).toBe(1);
  });

  test('change the defaults that follow from them', () => {
    expect(choose({ optimizeFor: 'throughput' }).batchWindowMs).toBe(20);
    expect(choose({ optimizeFor: 'latency' }, { BLIP_OPTIMIZE_FOR: 'throughput' }).batchWindowMs).toBe(5);
    expect(choose({ optimizeFor: 'throughput' }, { BLIP_BATCH_WINDOW_MS: '7' }).batchWindowMs).toBe(7);
  });

  test('that are undefined are left out, except where undefined is a value', () => {
    const environment = { BLIP_CHECKPOINT: '/of/variable', BLIP_MODEL_NAME: 'of-variable', BLIP_MAX_NEW_TOKENS: '3' };
    const chosen = { checkpoint: undefined, modelName: undefined } as unknown as Partial<Settings>; // Untyped callers.
    expect(choose(chosen, environment)).toEqual({ ...defaults, checkpoint: '/of/variable', maxNewTokens: 3 });
  });

  test('that are whole hide every variable', () => {
    const variables = Object.values(anySettingDefinitions());
    const environment = Object.fromEntries(variables.map(({ variable }) => [variable, 'nothing valid']));
    expect(choose(read({}), environment)).toEqual(defaults);
  });

  test.each([
    [{ checkpiont: 'a/b' }, 'Expected names of settings, got checkpiont: did you mean checkpoint?'],
    [{ BLIP_WORKERS: 1 }, 'Expected names of settings, got BLIP_WORKERS.'],
    [{ port: 3000 }, 'Expected names of settings, got port.'],
    [{ toString: 1 }, 'Expected names of settings, got toString.'],
    [
      { workerCount: 'many' },
      'Expected the setting workerCount to be auto or a whole number of at least 1, got "many".',
    ],
    [{ workerCount: '2' }, 'Expected the setting workerCount to be auto or a whole number of at least 1, got "2".'],
    [{ workerCount: 0 }, 'Expected the setting workerCount to be auto or a whole number of at least 1, got 0.'],
    [{ batchWindowMs: 1.5 }, 'Expected the setting batchWindowMs to be a whole number from 0 to 2147483647, got 1.5.'],
    [{ checkpoint: '' }, 'Expected the setting checkpoint to be text, got "".'],
    [{ checkpoint: null }, 'Expected the setting checkpoint to be text, got null.'],
    [{ imageApplyExif: 'true' }, 'Expected the setting imageApplyExif to be true or false, got "true".'],
    [
      { imageAllowedHosts: 'example.com' },
      'Expected the setting imageAllowedHosts to be an array with hosts, got "example.com".',
    ],
    [{ imageAllowedHosts: ['a,b'] }, 'Expected the setting imageAllowedHosts to be an array with hosts, got [a,b].'],
    [
      { deviceIds: [0, 0] },
      'Expected the setting deviceIds to be an array with different whole numbers, such as 0,1, got [0,0].',
    ],
    ['a/b', 'Expected an object of settings, such as { checkpoint: \'OWNER/NAME\' }, got "a/b".'],
    [null, "Expected an object of settings, such as { checkpoint: 'OWNER/NAME' }, got null."],
    [['a/b'], "Expected an object of settings, such as { checkpoint: 'OWNER/NAME' }, got [a/b]."],
  ])('that are not valid are refused: %j', (chosen, message) => {
    // Untyped callers may pass anything.
    expect(thrownBy(() => choose(chosen as unknown as Partial<Settings>))).toMatchObject({
      name: 'HandlerError',
      code: 'SETTINGS_INVALID',
      message,
    });
  });

  test('of devices are refused where another provider computes', () => {
    expect(thrownBy(() => choose({ executionProvider: 'cpu', deviceIds: [0] }))).toMatchObject({
      code: 'SETTINGS_INVALID',
    });
  });
});
