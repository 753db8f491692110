import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Proxies } from '../../network/proxy-connections.ts';
import { CheckpointError } from '../errors.ts';
import { readIfThere } from '../files/file-errors.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** Settings of the Hub and its cache, from the environment variables that Python's huggingface_hub reads. */
export interface HubSettings {
  /** Without a slash at its end. */
  readonly endpoint: string;
  readonly cacheFolder: string;
  readonly offline: boolean;
  /** Whether the cache is made of symlinks where the system has them, or of plain files. */
  readonly symlinks: boolean;
  readonly proxies: Proxies;
}

const DEFAULT_ENDPOINT = 'https://huggingface.co';

/**
 * Reads HF_ENDPOINT, HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, HF_HUB_OFFLINE,
 * TRANSFORMERS_OFFLINE, HF_HUB_DISABLE_SYMLINKS and the proxy variables; empty means absent.
 * Follows constants.py of huggingface_hub 2.4.0.
 * @throws CheckpointError `CHECKPOINT_DOWNLOAD_FAILED` when HF_ENDPOINT or a proxy is no URL. The message leaves out the
 * value, which may hold a password.
 */
export function readHubSettings(environment: Environment): HubSettings {
  return {
    endpoint: readEndpoint(environment),
    cacheFolder: readCacheFolder(environment),
    offline: isTrue(readEither(environment, 'HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE')),
    symlinks: !isTrue(readVariable(environment, 'HF_HUB_DISABLE_SYMLINKS')),
    proxies: readProxies(environment),
  };
}

/**
 * Reads the proxy variables, in lower or upper case.
 * @throws CheckpointError `CHECKPOINT_DOWNLOAD_FAILED` when one is no URL.
 */
export function readProxies(environment: Environment): Proxies {
  return {
    http: readProxy(environment, 'http_proxy', 'HTTP_PROXY'),
    https: readProxy(environment, 'https_proxy', 'HTTPS_PROXY'),
    none: readEither(environment, 'no_proxy', 'NO_PROXY') ?? '',
  };
}

/** The operator's own file, which may be a pipe of the shell. */
function readTokenFile(file: string): string | undefined {
  return readIfThere(file, () => readFileSync(file, 'utf8'));
}

/**
 * Reads the access token: HF_TOKEN, else HUGGING_FACE_HUB_TOKEN, else the file that `hf auth login` writes.
 * @throws CheckpointError `CHECKPOINT_ACCESS_DENIED` when it is no token, `CHECKPOINT_FILE_UNREADABLE`.
 */
export function readHubToken(environment: Environment): string | undefined {
  const file = expandPath(
    readVariable(environment, 'HF_TOKEN_PATH') ?? join(homeFolder(environment), 'token'),
    environment,
  );
  const token = (readEither(environment, 'HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN') ?? readTokenFile(file) ?? '').trim();
  if (token === '') return undefined;
  if (!/^[\x21-\x7e]+$/.test(token)) {
    throw new CheckpointError(
      'CHECKPOINT_ACCESS_DENIED',
      `HF_TOKEN or ${file}: expected an access token of the Hub, got something else.`,
    );
  }
  return token;
}

function readEndpoint(environment: Environment): string {
  const endpoint = (readVariable(environment, 'HF_ENDPOINT') ?? DEFAULT_ENDPOINT).replace(/\/+$/, '');
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  if (!['http:', 'https:'].includes(url?.protocol ?? '') || url?.username !== '' || url.search !== '') {
    throw new CheckpointError(
      'CHECKPOINT_DOWNLOAD_FAILED',
      'HF_ENDPOINT: expected an http or https URL without a user name, got something else.',
    );
  }
  return endpoint;
}

/** A proxy without a scheme speaks HTTP, as in curl. Empty means none. */
function readProxy(environment: Environment, lowerCase: string, upperCase: string): string {
  const value = readEither(environment, lowerCase, upperCase);
  if (value === undefined) return '';
  const proxy = value.includes('://') ? value : `http://${value}`;
  if (URL.canParse(proxy) && ['http:', 'https:'].includes(new URL(proxy).protocol)) return proxy;
  throw new CheckpointError(
    'CHECKPOINT_DOWNLOAD_FAILED',
    `${upperCase}: expected the http or https URL of a proxy, got something else.`,
  );
}

function readCacheFolder(environment: Environment): string {
  const folder =
    readEither(environment, 'HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE') ?? join(homeFolder(environment), 'hub');
  return expandPath(folder, environment);
}

function homeFolder(environment: Environment): string {
  const caches = readVariable(environment, 'XDG_CACHE_HOME') ?? join(userFolder(environment), '.cache');
  return expandPath(readVariable(environment, 'HF_HOME') ?? join(caches, 'huggingface'), environment);
}

function userFolder(environment: Environment): string {
  return readVariable(environment, 'HOME') ?? homedir();
}

/** Replaces `~`, `$NAME` and `${NAME}`, as Python's expanduser and expandvars do. */
function expandPath(path: string, environment: Environment): string {
  const expanded = path.replace(
    /\$(?:\{(\w+)\}|(\w+))/g,
    (whole, braced, bare) => environment[braced ?? bare] ?? whole,
  );
  return expanded.replace(/^~(?=$|[\\/])/, () => userFolder(environment));
}

function readEither(environment: Environment, first: string, second: string): string | undefined {
  return readVariable(environment, first) ?? readVariable(environment, second);
}

/** A variable without the space around it. Empty means absent. */
function readVariable(environment: Environment, variable: string): string | undefined {
  const value = environment[variable]?.trim() ?? '';
  return value === '' ? undefined : value;
}

function isTrue(value: string | undefined): boolean {
  return ['1', 'ON', 'YES', 'TRUE'].includes(value?.toUpperCase() ?? '');
}
