import { homedir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Environment, readHubSettings, readHubToken } from '../../../checkpoint/hub/hub-settings.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

const HOME = '/home/someone';

test('without variables: the public Hub and the cache in the home folder', () => {
  expect(readHubSettings({})).toEqual({
    endpoint: 'https://huggingface.co',
    cacheFolder: join(homedir(), '.cache/huggingface/hub'),
    offline: false,
    symlinks: true,
    proxies: { http: '', https: '', none: '' },
  });
});

test.each<[Environment, string]>([
  [{}, '/home/someone/.cache/huggingface/hub'],
  [{ XDG_CACHE_HOME: '/xdg' }, '/xdg/huggingface/hub'],
  [{ XDG_CACHE_HOME: '/xdg', HF_HOME: '/hf' }, '/hf/hub'],
  [{ HF_HOME: '/hf', HUGGINGFACE_HUB_CACHE: '/old' }, '/old'],
  [{ HF_HOME: '/hf', HUGGINGFACE_HUB_CACHE: '/old', HF_HUB_CACHE: '/new' }, '/new'],
  [{ HF_HOME: '  ' }, '/home/someone/.cache/huggingface/hub'],
  [{ HF_HOME: '~/hf' }, '/home/someone/hf/hub'],
  // biome-ignore lint/suspicious/noTemplateCurlyInString: this is how a shell writes a variable.
  [{ HF_HUB_CACHE: '$DISK/a/${DISK}/$NONE', DISK: '/disk' }, '/disk/a//disk/$NONE'],
  [{ HF_HUB_CACHE: '/a~/b' }, '/a~/b'],
])('the cache of %j is %s', (environment, folder) => {
  expect(readHubSettings({ HOME, ...environment }).cacheFolder).toBe(folder);
});

test.each(['1', 'true', 'YES', 'on'])('%s is true', (value) => {
  expect(readHubSettings({ HF_HUB_OFFLINE: value }).offline).toBe(true);
  expect(readHubSettings({ TRANSFORMERS_OFFLINE: value }).offline).toBe(true);
  expect(readHubSettings({ HF_HUB_DISABLE_SYMLINKS: value }).symlinks).toBe(false);
});

test.each(['0', 'false', '', 'no'])('%j is false', (value) => {
  expect(readHubSettings({ HF_HUB_OFFLINE: value }).offline).toBe(false);
});

describe('HF_ENDPOINT', () => {
  test.each([
    ['https://mirror.example/', 'https://mirror.example'],
    ['http://127.0.0.1:8080/some/path//', 'http://127.0.0.1:8080/some/path'],
  ])('%s', (HF_ENDPOINT, endpoint) => {
    expect(readHubSettings({ HF_ENDPOINT }).endpoint).toBe(endpoint);
  });

  test.each(['mirror.example', 'ftp://mirror.example', 'https://user:secret@mirror.example', 'https://m/?a=b'])(
    '%s is refused and not repeated',
    (HF_ENDPOINT) => {
      const error = expectCheckpointError(() => readHubSettings({ HF_ENDPOINT }), 'CHECKPOINT_DOWNLOAD_FAILED', [
        'HF_ENDPOINT',
      ]);
      expect(error.message).not.toContain('mirror.example');
    },
  );
});

test('proxy variables, small letters first', () => {
  const HTTPS_PROXY = 'http://big:1';
  expect(readHubSettings({ HTTPS_PROXY, https_proxy: 'small:1', NO_PROXY: 'a,b' }).proxies).toEqual({
    http: '',
    https: 'http://small:1',
    none: 'a,b',
  });
  expect(readHubSettings({ HTTP_PROXY: 'http://user:word@big:1' }).proxies.http).toBe('http://user:word@big:1');
});

test.each(['socks5h://secret@host:1', 'http://', 'secret proxy'])('%s is no proxy, and not repeated', (HTTPS_PROXY) => {
  const error = expectCheckpointError(() => readHubSettings({ HTTPS_PROXY }), 'CHECKPOINT_DOWNLOAD_FAILED', [
    'HTTPS_PROXY',
  ]);
  expect(error.message).not.toContain('secret');
});

describe('readHubToken', () => {
  test('HF_TOKEN, else the token file of HF_HOME, else none', () => {
    const HF_HOME = temporaryFolder({ token: 'hf_of_the_file\n' });
    expect(readHubToken({ HF_HOME, HF_TOKEN: 'hf_of_the_variable' })).toBe('hf_of_the_variable');
    expect(readHubToken({ HF_HOME })).toBe('hf_of_the_file');
    expect(readHubToken({ HF_HOME: temporaryFolder() })).toBeUndefined();
    expect(readHubToken({ HF_HOME: temporaryFolder({ token: '\n' }) })).toBeUndefined();
    expect(readHubToken({ HF_HOME, HF_TOKEN_PATH: join(temporaryFolder({ other: 'api_org' }), 'other') })).toBe(
      'api_org',
    );
  });

  test('a token that cannot stand in a header is refused', () => {
    const error = expectCheckpointError(() => readHubToken({ HF_TOKEN: 'hf_a\nX: b' }), 'CHECKPOINT_ACCESS_DENIED', []);
    expect(error.message).not.toContain('hf_a');
  });
});
