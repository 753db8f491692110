import { CheckpointError } from '../errors.ts';
import { defaultHubLimits } from './attempts.ts';
import { readCachedFiles, requireCached } from './cached-files.ts';
import type { DownloadOptions } from './download.ts';
import { type Environment, readHubSettings } from './hub-settings.ts';
import { isFolder, parseHubReference } from './reference.ts';

/**
 * Finds the folder of a checkpoint, named as a folder or as `owner/name[@revision]` of the Hub. An existing folder is
 * taken as it is. Else the Hub's cache is read, without any network. What the cache lacks is downloaded into it; only
 * then are the libraries loaded that open the network.
 *
 * A cache that Python filled may lack small files that the Hub has. The Hub is asked for them once, at the commit of the
 * cache. Where the Hub cannot be reached, the cache is used as it is, if it has enough.
 * @throws CheckpointError: `CHECKPOINT_NOT_FOUND` when it is neither, `CHECKPOINT_NOT_CACHED` in offline mode, and the
 * errors of `downloadCheckpoint`.
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
