import { CheckpointError } from '../errors.ts';
import { defaultHubLimits } from './attempts.ts';
import { readCachedFiles, requireCached } from './cached-files.ts';
import type { DownloadOptions } from './download.ts';
import { type Environment, readHubSettings } from './hub-settings.ts';
import { isFolder, parseHubReference } from './reference.ts';

/**
 * The folder of a checkpoint, given as a folder or as `owner/name[@revision]` of the Hub: an existing folder as it is;
 * else what the Hub's cache has, without any network; else it is downloaded into that cache. The libraries that open
 * the network are loaded only then.
 *
 * A cache that Python filled may lack small files that the Hub has; the Hub is asked for them once, at the commit that the
 * cache has, and when it cannot be, what is there will do if it is enough.
 * @throws CheckpointError: `CHECKPOINT_NOT_FOUND` when it is neither, `CHECKPOINT_NOT_CACHED` in offline mode, and what
 * `downloadCheckpoint` throws.
 */
export async function locateCheckpoint(
  reference: string,
  environment: Environment,
  options: Omit<DownloadOptions, 'folder'> = {},
): Promise<string> {
  if (isFolder(reference)) return reference;
  const hubReference = parseHubReference(reference);
  const settings = readHubSettings(environment);
  const cached = readCachedFiles(hubReference, settings);
  if (settings.offline) return requireCached(cached, hubReference, settings);
  if (cached.missing.length === 0 && cached.unknown.length === 0) return cached.folder;
  options.onNotice?.(`${reference}: fetched from ${settings.endpoint} into ${settings.cacheFolder}.`);
  const { downloadCheckpoint } = await import('./download.ts');
  const { commit } = cached;
  if (cached.missing.length > 0 || commit === undefined)
    return await downloadCheckpoint(hubReference, environment, options);
  const limits = { ...(options.limits ?? defaultHubLimits), attempts: 1 };
  try {
    return await downloadCheckpoint({ ...hubReference, revision: commit }, environment, { ...options, limits });
  } catch (thrown) {
    if (!(thrown instanceof CheckpointError)) throw thrown;
    options.onNotice?.(`${thrown.message} The files of the cache are used: ${cached.folder}.`);
    return cached.folder;
  }
}
