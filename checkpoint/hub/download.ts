import { join } from 'node:path';
import { CheckpointError } from '../errors.ts';
import { readJsonFile } from '../files/json-file.ts';
import { maxFileBytes, settingsFiles, vocabularies } from '../files/settings-files.ts';
import { chooseLayout, type Layout, openClipLayout, transformersLayout } from '../weights/layout.ts';
import { isWeightsIndex, shardsOf, weightsFilesOf } from '../weights/weights-files.ts';
import { type AttemptOptions, defaultHubLimits, type HubLimits } from './attempts.ts';
import { CacheDestination } from './cache-destination.ts';
import { readCachedFiles, readFolderFiles, requireCached } from './cached-files.ts';
import { HubConnection } from './connection.ts';
import { type Destination, FolderDestination } from './destination.ts';
import { fetchFile } from './fetch-file.ts';
import { type Environment, type HubSettings, readHubSettings, readHubToken } from './hub-settings.ts';
import { type Listing, listModel, type RemoteFile } from './listing.ts';
import { type HubReference, referenceText } from './reference.ts';

export interface DownloadProgress {
  /** The file that is being fetched. */
  readonly file: string;
  /** Of all files that are known so far, including those that were there before. */
  readonly receivedBytes: number;
  /** Grows once, when an index has named its shards. */
  readonly totalBytes: number;
}

export interface DownloadOptions {
  /** Gets plain files, in place of the cache. */
  readonly folder?: string | undefined;
  readonly onProgress?: (progress: DownloadProgress) => void;
  /** Takes lines for people: what failed and is tried again. */
  readonly onNotice?: (line: string) => void;
  /** Ends the download. The bytes that have arrived are kept. */
  readonly signal?: AbortSignal;
  readonly limits?: HubLimits;
}

interface Download {
  readonly reference: HubReference;
  readonly listing: Listing;
  readonly destination: Destination;
  readonly connection: HubConnection;
  readonly attempts: AttemptOptions;
  readonly onProgress: (progress: DownloadProgress) => void;
}

/**
 * Downloads the needed files of a checkpoint that are not there yet, into the cache that Python shares or into a folder.
 * Always asks the Hub which commit the revision is at now, except in offline mode.
 * @returns the folder with the files.
 * @throws CheckpointError: `CHECKPOINT_NOT_FOUND`, `CHECKPOINT_ACCESS_DENIED`, `CHECKPOINT_DOWNLOAD_FAILED`,
 * `CHECKPOINT_NOT_CACHED` in offline mode, `CHECKPOINT_CONFIG_INVALID`, `CHECKPOINT_WEIGHTS_INVALID` or
 * `CHECKPOINT_TOKENIZER_INVALID` where the model lacks such files, `CHECKPOINT_FILE_UNREADABLE` where one is too
 * large. When the signal aborts, its reason.
 */
export async function downloadCheckpoint(
  reference: HubReference,
  environment: Environment,
  options: DownloadOptions = {},
): Promise<string> {
  const settings = readHubSettings(environment);
  const { folder, signal = new AbortController().signal, limits = defaultHubLimits } = options;
  if (settings.offline) {
    const content = folder === undefined ? readCachedFiles(reference, settings) : readFolderFiles(folder);
    return requireCached(content, reference, settings);
  }
  const token = readHubToken(environment);
  const attempts = attemptOptions(reference, settings, token !== undefined, { ...options, limits, signal });
  const connection = new HubConnection(settings, token, limits, signal);
  try {
    const listing = await listModel(reference, connection, attempts);
    const destination =
      folder === undefined ? new CacheDestination(reference, settings, listing) : new FolderDestination(folder);
    const onProgress = options.onProgress ?? (() => undefined);
    return await fetchNeeded({ reference, listing, destination, connection, attempts, onProgress });
  } catch (thrown) {
    signal.throwIfAborted();
    throw thrown;
  } finally {
    await connection.close();
  }
}

function attemptOptions(
  reference: HubReference,
  { endpoint }: HubSettings,
  hasToken: boolean,
  { limits, signal, onNotice = () => undefined }: DownloadOptions & Pick<AttemptOptions, 'limits' | 'signal'>,
): AttemptOptions {
  const modelUrl = `${endpoint}/${reference.name}`;
  return { inquiry: { subject: referenceText(reference), modelUrl, endpoint, hasToken }, limits, signal, onNotice };
}

/** Fetches the weights last, so that a model that is no checkpoint costs little. */
async function fetchNeeded(download: Download): Promise<string> {
  const { reference, listing, destination } = download;
  const layout = await findLayout(download);
  const { form, absent } = chooseFiles(reference, listing, layout);
  const small = present(layout.settingsFiles, listing);
  if (!isWeightsIndex(form.name)) {
    await fetchFiles([...small, form], 0, download);
  } else {
    const doneBytes = await fetchFiles([...small, form], 0, download);
    await fetchFiles(findShards(join(destination.folder, form.name), reference, listing), doneBytes, download);
  }
  await destination.finish(absent);
  return destination.folder;
}

/** Where the Hub has the settings of both libraries, config.json says whose model it is. */
async function findLayout(download: Download): Promise<Layout> {
  const { reference, listing, destination } = download;
  const { configFile } = transformersLayout;
  const config = present([configFile], listing);
  if (listing.files.has(openClipLayout.configFile)) {
    requireReadableSizes(reference, config);
    await fetchFiles(config, 0, download);
  }
  const readConfig = () => readJsonFile(join(destination.folder, configFile))?.values;
  return chooseLayout((file) => listing.files.has(file), readConfig);
}

/** Chooses the form of the weights, and lists the files that the Hub does not have. */
function chooseFiles(
  reference: HubReference,
  listing: Listing,
  layout: Layout,
): { readonly form: RemoteFile; readonly absent: readonly string[] } {
  if (!listing.files.has(layout.configFile)) {
    throw new CheckpointError(
      'CHECKPOINT_CONFIG_INVALID',
      `${referenceText(reference)}: expected a ${layout.configFile} on the Hub, got ${otherOrNone(listing)}.`,
    );
  }
  const weightsFiles = weightsFilesOf(layout.forms);
  const [form] = present(weightsFiles, listing);
  if (form === undefined) {
    throw new CheckpointError(
      'CHECKPOINT_WEIGHTS_INVALID',
      `${referenceText(reference)}: expected one of ${weightsFiles.join(', ')} on the Hub, got none of them.`,
    );
  }
  // CLIP's vocabulary ships with this package.
  if (layout.library === 'transformers') requireVocabulary(reference, listing);
  requireReadableSizes(reference, present([...layout.settingsFiles, ...weightsFiles.filter(isWeightsIndex)], listing));
  const betterForms = weightsFiles.slice(0, weightsFiles.indexOf(form.name));
  const usualFiles = layout.library === 'transformers' ? settingsFiles : layout.settingsFiles;
  return { form, absent: [...usualFiles.filter((file) => !listing.files.has(file)), ...betterForms] };
}

/** A file that would be refused when it is read is not fetched. */
function requireReadableSizes(reference: HubReference, files: readonly RemoteFile[]): void {
  for (const { name, sizeBytes } of files) {
    if (sizeBytes <= maxFileBytes(name)) continue;
    throw new CheckpointError(
      'CHECKPOINT_FILE_UNREADABLE',
      `${referenceText(reference)}: ${name}: expected at most ${maxFileBytes(name)} bytes, got ${sizeBytes}.`,
    );
  }
}

/** Told before gigabytes of weights are fetched. */
function requireVocabulary(reference: HubReference, { files }: Listing): void {
  if (vocabularies.some((names) => names.every((name) => files.has(name)))) return;
  const sets = vocabularies.map((names) => names.join(' with ')).join(', or ');
  throw new CheckpointError(
    'CHECKPOINT_TOKENIZER_INVALID',
    `${referenceText(reference)}: expected ${sets} on the Hub, got none of them.`,
  );
}

/** A LoRA adapter has no configuration of a model, and some weights of open_clip have none. */
function otherOrNone({ files }: Listing): string {
  const openClipWeights = weightsFilesOf(openClipLayout.forms).find((file) => files.has(file));
  if (openClipWeights !== undefined) return `${openClipWeights} without its ${openClipLayout.configFile}`;
  if (!files.has('adapter_config.json')) return 'none';
  return 'an adapter of PEFT; download its folder with "hf download", and merge it with "blip-handler merge"';
}

function present(names: readonly string[], { files }: Listing): readonly RemoteFile[] {
  return names.map((name) => files.get(name)).filter((file) => file !== undefined);
}

function findShards(indexPath: string, reference: HubReference, listing: Listing): readonly RemoteFile[] {
  const index = readJsonFile(indexPath, 'CHECKPOINT_WEIGHTS_INVALID');
  return shardsOf(index ?? { path: indexPath, values: {} }).map((name) => {
    const shard = listing.files.get(name);
    if (shard !== undefined) return shard;
    throw new CheckpointError(
      'CHECKPOINT_WEIGHTS_INVALID',
      `${referenceText(reference)}: expected the shard ${name} on the Hub, got none.`,
    );
  });
}

/** Fetches one file after the other: a single connection fills most lines, and a cut leaves one half-written file. */
async function fetchFiles(files: readonly RemoteFile[], doneBytes: number, download: Download): Promise<number> {
  const totalBytes = doneBytes + files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  let beforeBytes = doneBytes;
  for (const file of files) {
    const report = (bytes: number) =>
      download.onProgress({ file: file.name, receivedBytes: beforeBytes + bytes, totalBytes });
    await fetchOne(file, download, report);
    beforeBytes += file.sizeBytes;
    report(0);
  }
  return totalBytes;
}

async function fetchOne(file: RemoteFile, download: Download, onBytes: (bytes: number) => void): Promise<void> {
  const { reference, listing, destination, connection, attempts } = download;
  if (await destination.has(file)) return;
  const { endpoint, subject } = attempts.inquiry;
  const path = file.name.split('/').map(encodeURIComponent).join('/');
  const job = {
    file,
    url: `${endpoint}/${reference.name}/resolve/${listing.commit}/${path}`,
    ...destination.paths(file),
    isWhole: () => destination.isWhole(file),
    onBytes,
  };
  const inquiry = { ...attempts.inquiry, subject: `${subject}: ${file.name}` };
  await destination.settle(file, await fetchFile(job, connection, { ...attempts, inquiry }));
}
