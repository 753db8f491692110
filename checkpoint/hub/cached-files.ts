import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { CheckpointError } from '../errors.ts';
import { readJsonFile } from '../files/json-file.ts';
import { settingsFiles, vocabularies } from '../files/settings-files.ts';
import { isWeightsIndex, shardsOf, weightsFiles } from '../weights/weights-files.ts';
import { cachedCommit, repositoryCache } from './cache-layout.ts';
import type { HubSettings } from './hub-settings.ts';
import { type HubReference, referenceText } from './reference.ts';

const PREPROCESSOR = 'preprocessor_config.json';
/** Where transformers has put the same since version 5. */
const PROCESSOR = 'processor_config.json';

/** What a folder has of a checkpoint's files. */
export interface FolderContent {
  readonly folder: string;
  /** Which commit's files these are; `undefined` where that is not known. */
  readonly commit: string | undefined;
  /** Without these it cannot be served. */
  readonly missing: readonly string[];
  /** Not there, and the Hub was not asked yet whether it has them. */
  readonly unknown: readonly string[];
}

/**
 * What the cache has of a model, read without any network. A revision that was never downloaded misses everything.
 * @throws CheckpointError when a file is there and cannot be read.
 */
export function readCachedFiles(reference: HubReference, settings: HubSettings): FolderContent {
  const cache = repositoryCache(settings.cacheFolder, reference);
  const commit = cachedCommit(cache, reference.revision);
  if (commit === undefined) return { folder: settings.cacheFolder, commit, ...missingFrom(undefined, () => false) };
  const folder = cache.snapshot(commit);
  return { folder, commit, ...missingFrom(folder, (file) => existsSync(cache.absentMarker(commit, file))) };
}

/** What a plain folder has of a checkpoint's files. */
export function readFolderFiles(folder: string): FolderContent {
  return { folder, commit: undefined, ...missingFrom(folder, () => false) };
}

/**
 * The folder, when nothing misses.
 * @throws CheckpointError `CHECKPOINT_NOT_CACHED`, which says what misses, where it would come from and how to get it.
 */
export function requireCached(
  { folder, missing }: FolderContent,
  reference: HubReference,
  { endpoint }: HubSettings,
): string {
  if (missing.length === 0) return folder;
  const text = referenceText(reference);
  throw new CheckpointError(
    'CHECKPOINT_NOT_CACHED',
    `${text}: expected all its files in ${folder}, as HF_HUB_OFFLINE is set; got no ${missing.join(', no ')}. ` +
      `They come from ${endpoint}/${reference.name}: run "npm run download -- ${text}" where there is a network.`,
  );
}

type MissingFiles = Pick<FolderContent, 'missing' | 'unknown'>;

function missingFrom(folder: string | undefined, isAbsentOnHub: (file: string) => boolean): MissingFiles {
  const has = (file: string) => folder !== undefined && existsSync(join(folder, file));
  const isOpen = (file: string) => !has(file) && !isAbsentOnHub(file);
  const weights = missingWeights(folder, has, isOpen);
  const hasVocabulary = vocabularies.some((files) => files.every(has));
  const hasProcessor = has(PREPROCESSOR) || (folder !== undefined && describesImages(join(folder, PROCESSOR)));
  const needless = new Set([...(hasVocabulary ? vocabularies.flat() : []), ...(hasProcessor ? [PROCESSOR] : [])]);
  return {
    missing: [
      ...(has('config.json') ? [] : ['config.json']),
      // Without it defaults would be used, which may not be this checkpoint's.
      ...(hasProcessor || !isOpen(PREPROCESSOR) ? [] : [PREPROCESSOR]),
      ...(hasVocabulary ? [] : ['tokenizer.json (or vocab.txt, or vocab.json and merges.txt)']),
      ...weights.missing,
    ],
    unknown: [...settingsFiles.filter((file) => !needless.has(file) && isOpen(file)), ...weights.unknown],
  };
}

/** Processors that have no images, or keep their settings elsewhere, write the same file. */
function describesImages(processor: string): boolean {
  return readJsonFile(processor)?.values['image_processor'] !== undefined;
}

/** The first form that is there counts; better ones that the Hub may have are unknown. */
function missingWeights(
  folder: string | undefined,
  has: (file: string) => boolean,
  isOpen: (file: string) => boolean,
): MissingFiles {
  const form = weightsFiles.find(has);
  if (folder === undefined || form === undefined) {
    return { missing: ['model.safetensors (or another form of the weights)'], unknown: [] };
  }
  const index = isWeightsIndex(form) ? readJsonFile(join(folder, form), 'CHECKPOINT_WEIGHTS_INVALID') : undefined;
  return {
    missing: index === undefined ? [] : shardsOf(index).filter((shard) => !has(shard)),
    unknown: weightsFiles.slice(0, weightsFiles.indexOf(form)).filter(isOpen),
  };
}
