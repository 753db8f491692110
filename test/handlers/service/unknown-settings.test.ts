import { expect, test } from 'vitest';
import { warnUnknownSettings } from '../../../handlers/service/unknown-settings.ts';

function warningsOf(environment: Readonly<Record<string, string>>): readonly string[] {
  const warnings: string[] = [];
  warnUnknownSettings(environment, {
    warn: (details, message) => warnings.push(`${'variable' in details ? details.variable : ''}: ${message}`),
  });
  return warnings;
}

test.each([
  ['BLIP_MAX_BEAM', 'BLIP_MAX_BEAMS'],
  ['BLIP_MAX_NEW_TOKNES', 'BLIP_MAX_NEW_TOKENS'],
  ['BLIP_API_TOKEN', 'BLIP_API_TOKENS'],
  ['BLIP_IMAGE_MAX_PIXEL', 'BLIP_IMAGE_MAX_PIXELS'],
  ['blip_checkpoint', 'BLIP_CHECKPOINT'],
  ['BLIP_LOG_LEVEL', 'LOG_LEVEL'],
  ['BLIP_HOST', 'HOST'],
  ['BLIP_PORT', 'PORT'],
  ['BLIP_LOGLEVEL', 'LOG_LEVEL'],
  ['BLIP_TOKENS', 'BLIP_API_TOKENS'],
  ['BLIP_TOKEN', 'BLIP_API_TOKENS'],
  ['BLIP_MAX_BATCH', 'BLIP_MAX_BATCH_SIZE'],
  ['BLIP_MAX_TOKENS', 'BLIP_MAX_NEW_TOKENS'],
  ['BLIP_BEAMS', 'BLIP_MAX_BEAMS'],
  ['BLIP_TIMEOUT', 'BLIP_IMAGE_TIMEOUT_MS or BLIP_REQUEST_TIMEOUT_MS'],
])('%s is no setting, and the warning names %s', (variable, meant) => {
  expect(warningsOf({ [variable]: '1' })).toEqual([
    `${variable}: this variable is no setting: did you mean ${meant}? docs/reference/settings.md has the names.`,
  ]);
});

test('a variable that is like no setting is named alone', () => {
  expect(warningsOf({ BLIP_COLOUR: 'red' })).toEqual([
    'BLIP_COLOUR: this variable is no setting. docs/reference/settings.md has the names.',
  ]);
});

test('settings, other variables, and those of Kubernetes and Docker for a service named blip are no cause to warn', () => {
  const environment = {
    BLIP_MAX_BEAMS: '4',
    LOG_LEVEL: 'info',
    PATH: '/bin',
    BLIP_PORT: 'tcp://10.0.0.7:8080',
    BLIP_PORT_8080_TCP_ADDR: '10.0.0.7',
    BLIP_SERVICE_HOST: '10.0.0.7',
    BLIP_SERVICE_PORT: '8080',
    BLIP_SERVICE_PORT_HTTP: '8080',
    BLIP_ENV_NODE_VERSION: '20',
  };
  expect(warningsOf(environment)).toEqual([]);
});
