import { dirname, isAbsolute, join, normalize, resolve, sep } from 'node:path';
import { isFolder } from '../../../checkpoint/hub/reference.ts';
import { type CudaVersion, cudaVersions } from '../../../pipeline/cuda/provider-install.ts';
import { isModelName } from '../../../pipeline/setting-definitions.ts';
import { HandlerError } from '../../../protocol/errors.ts';
import { version } from '../../service/version.ts';
import { readArguments, readChoice, refuseWithoutEffect } from '../command.ts';
import { type BuildFile, type CheckpointEntry, defaultBuildFile, readBuildFile } from './build-file.ts';
import { type BuilderName, builderNames } from './builder.ts';
import { type ImageArchitecture, readArchitecture } from './target.ts';

/** The options of a build: flags of the command over the keys of build.yaml. */

/** A checkpoint in the image. */
export interface BakedCheckpoint {
  /** Its folder below /app/models, and the model's name where requests choose between several. */
  readonly name: string;
  /** A folder, or a model of the Hub. */
  readonly checkpoint: string;
}

/** A file or a folder of the user's. */
export interface IncludedPath {
  /** Below /app/include. */
  readonly path: string;
  readonly source: string;
}

export interface BuildOptions {
  /** Name and tag of the image, with a registry or without one. */
  readonly tag: string;
  /** `undefined` for the Dockerfile's own, or that of CUDA. */
  readonly base: string | undefined;
  readonly node: string | undefined;
  readonly architecture: ImageArchitecture;
  /** `undefined` for a CPU. */
  readonly cuda: CudaVersion | undefined;
  readonly checkpoints: readonly BakedCheckpoint[];
  /** Whether requests choose between the checkpoints by their names. */
  readonly hasNamedModels: boolean;
  readonly include: readonly IncludedPath[];
  readonly environment: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  /** `undefined` for the first that is installed. */
  readonly builder: BuilderName | undefined;
  readonly builderArguments: readonly string[];
  readonly push: boolean;
  /** Writes the service into this folder in place of an image. */
  readonly folder: string | undefined;
  /** An image of one checkpoint alone. */
  readonly modelOnly: boolean;
}

const DEFAULT_NAME = 'blip-handler';

const flags = {
  file: { type: 'string' },
  checkpoint: { type: 'string', multiple: true },
  'model-name': { type: 'string', multiple: true },
  'model-only': { type: 'string' },
  tag: { type: 'string', short: 't' },
  base: { type: 'string' },
  node: { type: 'string' },
  cuda: { type: 'string' },
  architecture: { type: 'string' },
  builder: { type: 'string' },
  push: { type: 'boolean' },
  folder: { type: 'string' },
} as const;

/** Flags that an image of one checkpoint alone has no use for. */
const ofService = ['file', 'checkpoint', 'model-name', 'base', 'node', 'cuda', 'architecture', 'folder'] as const;
/** Flags that a folder has no use for. */
const ofImage = ['tag', 'base', 'node', 'builder', 'push'] as const;

type Flags = ReturnType<typeof readFlags>['values'];

function readFlags(own: readonly string[]) {
  return readArguments({ args: [...own], options: flags });
}

/**
 * Reads the flags, and build.yaml beside them.
 * @throws HandlerError `INVALID_REQUEST`, `BUILD_FILE_INVALID`.
 */
export function readBuildOptions(): BuildOptions {
  const [own, builderArguments] = splitArguments(process.argv.slice(2));
  const { values } = readFlags(own);
  if (values['model-only'] !== undefined) refuseWithoutEffect(values, ofService, 'beside --model-only');
  if (values.folder !== undefined) refuseForFolder(values, builderArguments);
  const builder = readChoice('--builder', values.builder, builderNames);
  const common = { builder, builderArguments, push: values.push ?? false };
  const checkpoint = values['model-only'];
  if (checkpoint !== undefined) return { ...modelOnlyOptions(checkpoint, values), ...common };
  const path = values.file ?? defaultBuildFile;
  const file = readBuildFile(path);
  if (file === undefined && values.file !== undefined)
    throw new HandlerError('BUILD_FILE_INVALID', `${path}: Expected a file, got none.`);
  return { ...serviceOptions(values, file ?? {}, dirname(path)), ...common };
}

/** The arguments behind `--` are the builder's own. */
function splitArguments(all: readonly string[]): readonly [own: readonly string[], ofBuilder: readonly string[]] {
  const end = all.indexOf('--');
  return end === -1 ? [all, []] : [all.slice(0, end), all.slice(end + 1)];
}

/** @throws HandlerError `INVALID_REQUEST` for what only a builder of images would read. */
function refuseForFolder(values: Flags, builderArguments: readonly string[]): void {
  refuseWithoutEffect(values, ofImage, 'beside --folder');
  const [idle] = builderArguments;
  if (idle !== undefined)
    throw new HandlerError('INVALID_REQUEST', `-- ${idle} has no effect beside --folder: leave it out. Try --help.`);
}

type Common = 'builder' | 'builderArguments' | 'push';

function modelOnlyOptions(checkpoint: string, { tag }: Flags): Omit<BuildOptions, Common> {
  if (tag === undefined)
    throw new HandlerError('INVALID_REQUEST', 'Expected --tag NAME:TAG beside --model-only, got none. Try --help.');
  return {
    ...serviceOptions({ tag }, {}, '.'),
    checkpoints: [{ name: '', checkpoint }],
    modelOnly: true,
  };
}

function serviceOptions(values: Flags, file: BuildFile, fileFolder: string): Omit<BuildOptions, Common> {
  const chosen = [...(values.checkpoint ?? []), ...(values['model-name'] ?? [])].map(readEntry);
  const entries = chosen.length > 0 ? chosen : (file.checkpoints ?? []).map((entry) => relativeTo(fileFolder, entry));
  const options = {
    tag: values.tag ?? `${file.name ?? DEFAULT_NAME}:${file.tag ?? version}`,
    base: values.base ?? file.base,
    node: values.node ?? file.node,
    architecture: readArchitecture(values.architecture ?? file.architecture ?? process.arch),
    cuda: readChoice('--cuda', values.cuda ?? file.cuda, cudaVersions),
    checkpoints: entries.map(toBaked),
    hasNamedModels: entries.length > 1 || entries.some((entry) => typeof entry !== 'string'),
    include: (file.include ?? []).map((path) => toIncluded(path, fileFolder)),
    environment: file.environment ?? {},
    labels: file.labels ?? {},
    folder: values.folder,
    modelOnly: false,
  };
  requireConsistent(options);
  requireCudaMachine(options);
  return options;
}

/** `PLACE` or `NAME=PLACE`. */
function readEntry(text: string): CheckpointEntry {
  const [name = '', ...rest] = text.split('=');
  return rest.length > 0 && isModelName(name) ? { name, checkpoint: rest.join('=') } : text;
}

/** Folders are relative to the file that names them. */
function relativeTo(folder: string, entry: CheckpointEntry): CheckpointEntry {
  const move = (checkpoint: string) => (isFolder(join(folder, checkpoint)) ? resolve(folder, checkpoint) : checkpoint);
  return typeof entry === 'string' ? move(entry) : { ...entry, checkpoint: move(entry.checkpoint) };
}

/** A checkpoint without a name has the last part of its own: `blip-vqa-base` of `Salesforce/blip-vqa-base@main`. */
function toBaked(entry: CheckpointEntry): BakedCheckpoint {
  if (typeof entry !== 'string') return entry;
  const own = isFolder(entry) ? resolve(entry) : (entry.split('@')[0] ?? entry);
  const last = own.split(/[\\/]/).findLast((part) => part !== '') ?? '';
  return { name: last.replace(/[^\w.-]/g, '-'), checkpoint: entry };
}

function toIncluded(path: string, folder: string): IncludedPath {
  return { path, source: resolve(folder, path) };
}

/** @throws HandlerError `BUILD_FILE_INVALID`. */
function requireConsistent({
  checkpoints,
  environment,
  include,
}: Pick<BuildOptions, 'checkpoints' | 'environment' | 'include'>): void {
  const problem =
    nameProblem(checkpoints.map(({ name }) => name)) ??
    environmentProblem(checkpoints.length, Object.keys(environment)) ??
    includeProblem(include.map(({ path }) => path));
  if (problem !== undefined) throw new HandlerError('BUILD_FILE_INVALID', problem);
}

/** Before anything is fetched. @throws HandlerError `INVALID_REQUEST`. */
function requireCudaMachine({ architecture, cuda }: Pick<BuildOptions, 'architecture' | 'cuda'>): void {
  if (cuda === undefined || architecture === 'x64') return;
  throw new HandlerError(
    'INVALID_REQUEST',
    `Expected the architecture x64 for CUDA, which onnxruntime-node has for Linux x64 alone, got ${architecture}.`,
  );
}

function nameProblem(names: readonly string[]): string | undefined {
  const bad = names.find((name) => !isModelName(name));
  if (bad !== undefined)
    return `Expected a checkpoint's name of letters, digits, ".", "-" and "_", got ${JSON.stringify(bad)}.`;
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice === undefined) return undefined;
  return `Expected every checkpoint to have a name of its own, got two that are called ${twice}. Give names: NAME=CHECKPOINT.`;
}

function environmentProblem(checkpointCount: number, variables: readonly string[]): string | undefined {
  const variable = ['BLIP_CHECKPOINT', 'BLIP_MODELS'].find((each) => variables.includes(each));
  if (checkpointCount === 0 || variable === undefined) return undefined;
  return `Expected checkpoints, or ${variable} in the environment, got both. The checkpoints set that variable.`;
}

function includeProblem(paths: readonly string[]): string | undefined {
  const outside = paths.find((path) => isAbsolute(path) || normalize(path).split(sep).includes('..'));
  if (outside === undefined) return undefined;
  return `Expected include to have relative paths below the folder of the file, got ${JSON.stringify(outside)}.`;
}
