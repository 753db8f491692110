import { describe, expect, test } from 'vitest';
import { settingsOfModels } from '../../../handlers/service/model-loading.ts';
import { readServerSettings as read, serverSettingDefinitions } from '../../../handlers/service/server-settings.ts';
import { HandlerError } from '../../../protocol/errors.ts';
import { testSettings } from '../../support/server.ts';
import { thrownBy } from '../../support/thrown.ts';

const definitions = Object.values(serverSettingDefinitions);

const defaults = {
  models: [],
  host: undefined,
  port: 8080,
  vertexPort: undefined,
  vertexHealthRoute: undefined,
  vertexPredictRoute: undefined,
  vertexAuthorizer: 'tokens',
  apiTokens: [],
  maxRequestsPerToken: undefined,
  requestTimeoutMs: undefined,
  lambdaAuthorizer: 'tokens',
  maxBodyBytes: 67_108_864,
  drainLimitMs: 5_000,
  logLevel: 'info',
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
    expect(read({ PATH: '/usr/bin', BLIP_UNKNOWN: 'x', port: '7' })).toEqual(defaults);
  });
});

describe('each variable', () => {
  const values = {
    BLIP_MODELS: ['models', 'one=/models/blip', [{ name: 'one', checkpoint: '/models/blip' }]],
    HOST: ['host', '::1', '::1'],
    PORT: ['port', '0', 0],
    AIP_HTTP_PORT: ['vertexPort', '8081', 8081],
    AIP_HEALTH_ROUTE: ['vertexHealthRoute', '/health', '/health'],
    AIP_PREDICT_ROUTE: ['vertexPredictRoute', '/v1/models/a:predict', '/v1/models/a:predict'],
    BLIP_VERTEX_AUTHORIZER: ['vertexAuthorizer', 'platform', 'platform'],
    BLIP_GRPC_PORT: ['grpcPort', '8082', 8082],
    BLIP_GRPC_TLS_CERT: ['grpcTlsCert', '/tls/server.pem', '/tls/server.pem'],
    BLIP_GRPC_TLS_KEY: ['grpcTlsKey', '/tls/server.key', '/tls/server.key'],
    BLIP_GRPC_TLS_CLIENT_CA: ['grpcTlsClientCa', '/tls/clients.pem', '/tls/clients.pem'],
    BLIP_API_TOKENS: ['apiTokens', ' one, two ,,three ', ['one', 'two', 'three']],
    BLIP_MAX_REQUESTS_PER_TOKEN: ['maxRequestsPerToken', '4', 4],
    BLIP_REQUEST_TIMEOUT_MS: ['requestTimeoutMs', '30000', 30_000],
    BLIP_LAMBDA_AUTHORIZER: ['lambdaAuthorizer', 'platform', 'platform'],
    BLIP_MAX_BODY_BYTES: ['maxBodyBytes', '4096', 4096],
    BLIP_DRAIN_LIMIT_MS: ['drainLimitMs', '0', 0],
    LOG_LEVEL: ['logLevel', 'silent', 'silent'],
  } as const;

  test.each(Object.entries(values))('%s changes its own setting alone', (variable, [name, text, value]) => {
    const changed = { ...defaults, [name]: value };
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

  test.each(['1', '8080', '65535'])('PORT may be %s', (port) => {
    expect(read({ PORT: port }).port).toBe(Number(port));
  });
});

describe('several models', () => {
  test('are named with their checkpoints, in the order in which they are given', () => {
    const { models } = read({ BLIP_MODELS: 'captions=/models/blip, answers = /models/vqa ,\tclip=openai/clip@main' });
    expect(models).toEqual([
      { name: 'captions', checkpoint: '/models/blip' },
      { name: 'answers', checkpoint: '/models/vqa' },
      { name: 'clip', checkpoint: 'openai/clip@main' },
    ]);
  });

  test('may have a checkpoint with an equals sign or spaces in its path, and share one', () => {
    expect(read({ BLIP_MODELS: 'a=/run=1/my blip,b=/run=1/my blip' }).models).toEqual([
      { name: 'a', checkpoint: '/run=1/my blip' },
      { name: 'b', checkpoint: '/run=1/my blip' },
    ]);
  });

  test('each have the settings of all, but their own name and checkpoint', () => {
    const { models } = read({ BLIP_MODELS: 'a=/one,b=/two' });
    const settings = testSettings({ modelName: 'c', checkpoint: '/three', maxQueueSize: 1 });
    expect(settingsOfModels(settings, models)).toEqual([
      { ...settings, modelName: 'a', checkpoint: '/one' },
      { ...settings, modelName: 'b', checkpoint: '/two' },
    ]);
  });

  test('are one where BLIP_MODELS is not set', () => {
    const settings = testSettings({ checkpoint: '/three' });
    expect(settingsOfModels(settings, read({}).models)).toEqual([settings]);
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

  test.each([['BLIP_MAX_BODY_BYTES', 1]] as const)('%s must be a whole number of at least %d', (variable, minimum) => {
    for (const text of [String(minimum - 1), '1.5', '1e3', '0x10', 'many', '+2', '1 000', '1_000', 'NaN', 'Infinity'])
      expectInvalid(variable, text);
    expectInvalid(variable, '9'.repeat(16)); // More than a number can count.
  });

  test.each([
    ['BLIP_LAMBDA_AUTHORIZER', 'nobody'],
    ['BLIP_MODELS', 'blip'],
    ['BLIP_MODELS', '/models/blip'],
    ['BLIP_MODELS', '=/models/blip'],
    ['BLIP_MODELS', 'blip='],
    ['BLIP_MODELS', 'blip= '],
    ['BLIP_MODELS', 'a=/one,b='],
    ['BLIP_MODELS', 'a=/one,'],
    ['BLIP_MODELS', ',a=/one'],
    ['BLIP_MODELS', 'a=/one,,b=/two'],
    ['BLIP_MODELS', 'a=/one,a=/two'],
    ['BLIP_MODELS', 'a=/one, a =/one'],
    ['BLIP_MODELS', 'my blip=/models/blip'],
    ['BLIP_MODELS', 'blip/large=/models/blip'],
    ['BLIP_MODELS', `${'x'.repeat(101)}=/models/blip`],
    ['BLIP_API_TOKENS', ','],
    ['BLIP_DRAIN_LIMIT_MS', '5000000000'],
    ['BLIP_MAX_REQUESTS_PER_TOKEN', '0'],
    ['BLIP_MAX_REQUESTS_PER_TOKEN', '-1'],
    ['BLIP_MAX_REQUESTS_PER_TOKEN', 'none'],
    ['PORT', '65536'],
    ['PORT', '-1'],
    ['PORT', '80a'],
    ['PORT', '999999'],
    ['LOG_LEVEL', 'verbose'],
    ['LOG_LEVEL', 'INFO'],
  ])('%s must not be %s', expectInvalid);

  test('are not repeated in the message, nor in what comes with it', () => {
    const error = thrownBy(() => read({ PORT: 'a-token-in-the-wrong-place', BLIP_API_TOKENS: 'another-token' }));
    expect(error).toBeInstanceOf(HandlerError);
    const { message, cause } = error as HandlerError; // The line above.
    expect(message).toContain('PORT');
    expect(`${message} ${String(cause)}`).not.toContain('token');
  });
});
