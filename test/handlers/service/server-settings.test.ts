import { describe, expect, test } from 'vitest';
import { settingsOfModels } from '../../../handlers/service/model-loading.ts';
import { readServerSettings as read, serverSettingDefinitions } from '../../../handlers/service/server-settings.ts';
import { testSettings } from '../../support/server.ts';
import { type SettingsReader, testDefaults, testInvalidValues, testVariables } from '../../support/settings-reader.ts';

const defaults = {
  models: [],
  host: undefined,
  port: 8080,
  vertexPort: undefined,
  vertexHealthRoute: undefined,
  vertexPredictRoute: undefined,
  authorizer: 'tokens',
  vertexAuthorizer: 'tokens',
  apiTokens: [],
  allowedHosts: [],
  allowedOrigins: [],
  maxRequestsPerToken: undefined,
  requestTimeoutMs: undefined,
  lambdaAuthorizer: 'tokens',
  maxBodyBytes: 67_108_864,
  maxHeldBodyBytes: 536_870_912,
  maxConnections: 1_000,
  drainLimitMs: 5_000,
  stopLimitMs: 25_000,
  logLevel: 'info',
  logFormat: 'auto',
};

const reader: SettingsReader = { read, definitions: Object.values(serverSettingDefinitions), defaults };

describe('defaults', () => {
  testDefaults(reader);
});

describe('each variable', () => {
  testVariables(reader, {
    BLIP_MODELS: ['one=/models/blip', { models: [{ name: 'one', checkpoint: '/models/blip' }] }],
    HOST: ['::1', { host: '::1' }],
    PORT: ['0', { port: 0 }],
    AIP_HTTP_PORT: ['8081', { vertexPort: 8081 }],
    AIP_HEALTH_ROUTE: ['/health', { vertexHealthRoute: '/health' }],
    AIP_PREDICT_ROUTE: ['/v1/models/a:predict', { vertexPredictRoute: '/v1/models/a:predict' }],
    BLIP_VERTEX_AUTHORIZER: ['platform', { vertexAuthorizer: 'platform' }],
    BLIP_TLS_CERT: ['/tls/server.pem', { tlsCert: '/tls/server.pem' }],
    BLIP_TLS_KEY: ['/tls/server.key', { tlsKey: '/tls/server.key' }],
    BLIP_TLS_CLIENT_CA: ['/tls/clients.pem', { tlsClientCa: '/tls/clients.pem' }],
    BLIP_GRPC_PORT: ['8082', { grpcPort: 8082 }],
    BLIP_GRPC_TLS_CERT: ['/tls/server.pem', { grpcTlsCert: '/tls/server.pem' }],
    BLIP_GRPC_TLS_KEY: ['/tls/server.key', { grpcTlsKey: '/tls/server.key' }],
    BLIP_GRPC_TLS_CLIENT_CA: ['/tls/clients.pem', { grpcTlsClientCa: '/tls/clients.pem' }],
    BLIP_API_TOKENS: [' one, two ,,three ', { apiTokens: ['one', 'two', 'three'] }],
    BLIP_ALLOWED_HOSTS: [' Blip.internal, ::1,10.0.0.1', { allowedHosts: ['blip.internal', '::1', '10.0.0.1'] }],
    BLIP_ALLOWED_ORIGINS: [
      'https://example.com, http://localhost:3000,null',
      { allowedOrigins: ['https://example.com', 'http://localhost:3000', 'null'] },
    ],
    BLIP_MAX_REQUESTS_PER_TOKEN: ['4', { maxRequestsPerToken: 4 }],
    BLIP_REQUEST_TIMEOUT_MS: ['30000', { requestTimeoutMs: 30_000 }],
    BLIP_LAMBDA_AUTHORIZER: ['platform', { lambdaAuthorizer: 'platform' }],
    BLIP_MAX_BODY_BYTES: ['4096', { maxBodyBytes: 4096 }],
    BLIP_MAX_HELD_BODY_BYTES: ['100000000', { maxHeldBodyBytes: 100_000_000 }],
    BLIP_MAX_CONNECTIONS: ['64', { maxConnections: 64 }],
    BLIP_REDIS_URL: ['rediss://:secret@redis:6379/1', { redisUrl: 'rediss://:secret@redis:6379/1' }],
    BLIP_DRAIN_LIMIT_MS: ['0', { drainLimitMs: 0 }],
    BLIP_STOP_LIMIT_MS: ['1000', { stopLimitMs: 1_000 }],
    LOG_LEVEL: ['silent', { logLevel: 'silent' }],
    LOG_FORMAT: ['text', { logFormat: 'text' }],
    BLIP_AUTHORIZER: ['platform', { authorizer: 'platform' }],
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
  testInvalidValues(reader, {
    counts: [
      ['BLIP_MAX_BODY_BYTES', 1],
      ['BLIP_MAX_HELD_BODY_BYTES', 1],
      ['BLIP_MAX_CONNECTIONS', 1],
    ],
    texts: [
      ['BLIP_ALLOWED_HOSTS', 'https://blip.internal'],
      ['BLIP_ALLOWED_HOSTS', 'blip.internal:8080'],
      ['BLIP_ALLOWED_HOSTS', 'one two'],
      ['BLIP_ALLOWED_HOSTS', ','],
      ['BLIP_ALLOWED_ORIGINS', 'example.com'],
      ['BLIP_ALLOWED_ORIGINS', 'https://example.com/'],
      ['BLIP_ALLOWED_ORIGINS', 'https://example.com/page'],
      ['BLIP_ALLOWED_ORIGINS', '*.example.com'],
      ['BLIP_AUTHORIZER', 'nobody'],
      ['BLIP_LAMBDA_AUTHORIZER', 'nobody'],
      ['LOG_FORMAT', 'pretty'],
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
    ],
    secrets: { PORT: 'a-token-in-the-wrong-place', BLIP_API_TOKENS: 'another-token' },
    hidden: [
      ['BLIP_API_TOKENS', ','],
      ['BLIP_REDIS_URL', 'redis:6379'],
      ['BLIP_REDIS_URL', 'http://redis:6379'],
    ],
  });
});
