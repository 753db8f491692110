import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { CheckpointError } from '../errors.ts';
import { readJsonFile } from '../files/json-file.ts';
import { QFORMER_TOKENIZER_FOLDER, settingsFiles, vocabularies } from '../files/settings-files.ts';
import { layoutOf, openClipLayout, transformersLayout } from '../weights/layout.ts';
import { isWeightsIndex, shardsOf, weightsFilesOf } from '../weights/weights-files.ts';
import { cachedCommit, repositoryCache } from './cache-layout.ts';
import type { HubSettings } from './hub-settings.ts';
import { type HubReference, referenceText } from './reference.ts';

const PREPROCESSOR = 'preprocessor_config.json';
/** Has the preprocessor's settings since version 5 of transformers. */
const PROCESSOR = 'processor_config.json';

/** The files of a checkpoint that a folder lacks. */
export interface FolderContent {
  readonly folder: string;
  /** The commit of the files, where it is known. */
  readonly commit: string | undefined;
  /** The checkpoint cannot be served without these. */
  readonly missing: readonly string[];
  /** Files that the Hub may have, which it was not asked for yet. */
  readonly unknown: readonly string[];
}

/**
 * Looks for a model in the cache, without any network. A revision that was never downloaded lacks everything.
 * @throws CheckpointError when a file is there but cannot be read.
 */
export function readCachedFiles(reference: HubReference, settings: HubSettings): FolderContent {
  const cache = repositoryCache(settings.cacheFolder, reference);
  const commit = cachedCommit(cache, reference.revision);
  if (commit === undefined) return { folder: settings.cacheFolder, commit, ...missingFrom(undefined, () => false) };
  const folder = cache.snapshot(commit);
  return { folder, commit, ...missingFrom(folder, (file) => existsSync(cache.absentMarker(commit, file))) };
}

/** Looks for the files of a checkpoint in a plain folder. */
export function readFolderFiles(folder: string): FolderContent {
  return { folder, commit: undefined, ...missingFrom(folder, () => false) };
}

/**
 * The folder, where it lacks nothing.
 * @throws CheckpointError `CHECKPOINT_NOT_CACHED`, which names the missing files, their source and how to get them.
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

const weightsFiles = weightsFilesOf(transformersLayout.forms);

type MissingFiles = Pick<FolderContent, 'missing' | 'unknown'>;

function missingFrom(folder: string | undefined, isAbsentOnHub: (file: string) => boolean): MissingFiles {
  const has = (file: string) => folder !== undefined && existsSync(join(folder, file));
  if (folder !== undefined && layoutOf(folder).library === 'open_clip') return missingOfOpenClip(has);
  const isUnknown = (file: string) => !has(file) && !isAbsentOnHub(file);
  const weights = missingWeights(folder, has, isUnknown);
  const hasVocabulary = vocabularies.some((files) => files.every(has));
  const hasProcessor =
    has(PREPROCESSOR) || (folder !== undefined && has(PROCESSOR) && describesImages(join(folder, PROCESSOR)));
  const needless = new Set([...(hasVocabulary ? vocabularies.flat() : []), ...(hasProcessor ? [PROCESSOR] : [])]);
  return {
    missing: [
      ...(has('config.json') ? [] : ['config.json']),
      // Without it the defaults would apply, which may not be this checkpoint's.
      ...(hasProcessor || !isUnknown(PREPROCESSOR) ? [] : [PREPROCESSOR]),
      ...(hasVocabulary
        ? []
        : ['tokenizer.json (or vocab.txt, or vocab.json and merges.txt, or spiece.model, or tokenizer.model)']),
      ...(folder === undefined ? [] : missingSecondTokenizer(folder, has)),
      ...weights.missing,
    ],
    unknown: [...settingsFiles.filter((file) => !needless.has(file) && isUnknown(file)), ...weights.unknown],
  };
}

/** Nothing else is needed: CLIP's tokenizer ships with this package. */
function missingOfOpenClip(has: (file: string) => boolean): MissingFiles {
  const forms = weightsFilesOf(openClipLayout.forms);
  return { missing: forms.some(has) ? [] : [forms.join(' (or ').concat(')')], unknown: [] };
}

/** InstructBLIP's Q-Former reads prompts in tokens of its own. */
function missingSecondTokenizer(folder: string, has: (file: string) => boolean): readonly string[] {
  const isInstructBlip = readJsonFile(join(folder, 'config.json'))?.values['model_type'] === 'instructblip';
  const path = (file: string) => `${QFORMER_TOKENIZER_FOLDER}/${file}`;
  if (!isInstructBlip || has(path('tokenizer.json')) || has(path('vocab.txt'))) return [];
  return [`${path('tokenizer.json')} (or vocab.txt)`];
}

/** Processors without images, or with their settings elsewhere, write this file too. */
function describesImages(processor: string): boolean {
  return readJsonFile(processor)?.values['image_processor'] !== undefined;
}

/** The first form of the weights that is there counts. The Hub may have better ones, which are unknown. */
function missingWeights(
  folder: string | undefined,
  has: (file: string) => boolean,
  isUnknown: (file: string) => boolean,
): MissingFiles {
  const form = weightsFiles.find(has);
  if (folder === undefined || form === undefined) {
    return { missing: ['model.safetensors (or another form of the weights)'], unknown: [] };
  }
  const index = isWeightsIndex(form) ? readJsonFile(join(folder, form), 'CHECKPOINT_WEIGHTS_INVALID') : undefined;
  return {
    missing: index === undefined ? [] : shardsOf(index).filter((shard) => !has(shard)),
    unknown: weightsFiles.slice(0, weightsFiles.indexOf(form)).filter(isUnknown),
  };
}
