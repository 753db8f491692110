import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type BuilderName, builderNames, findBuilder } from '../../handlers/command-line/build/builder.ts';
import { makeReadableFiles } from '../../handlers/command-line/build/copied-files.ts';
import { fillService } from '../../handlers/command-line/build/image.ts';
import { type ImageArchitecture, readArchitecture } from '../../handlers/command-line/build/target.ts';
import {
  abortOnSignals,
  readArguments,
  readChoice,
  refuseWithoutEffect,
  runCommand,
  sharedHelp,
} from '../../handlers/command-line/command.ts';
import { requireWritable } from '../../handlers/command-line/new-checkpoint.ts';
import { writeArchive } from './archive.ts';
import { buildFunctionImage, type FunctionImage } from './function-image.ts';

/** `npm run lambda`: makes the zip archive or the image of the function for AWS Lambda, from dist/. Prints its name. */

const usage = `Usage: npm run -s lambda -- [options]

  --out FILE           the archive (else lambda.zip)
  --image NAME:TAG     builds an image in place of an archive
  --checkpoint PLACE   a checkpoint in the archive or the image: a folder, or OWNER/NAME[@REVISION] of the Hub
                       (else the small one that ships, or what BLIP_CHECKPOINT of the function names)
  --architecture A     x64 or arm64 (else that of this machine)
  --base IMAGE         the image below (else public.ecr.aws/lambda/nodejs:22)
  --builder PROGRAM    docker (with buildx), podman or buildah (else the first of them that is installed)
  --push               pushes the image to the registry of its name
${sharedHelp}`;

/** The folder of the checkpoint in the function, below models/. */
const MODEL = 'model';

interface Options {
  readonly architecture: ImageArchitecture;
  readonly checkpoint: string | undefined;
  /** The archive to write, or the image to build. */
  readonly result: { readonly file: string } | ImageOptions;
}

interface ImageOptions extends Pick<FunctionImage, 'tag' | 'base' | 'push'> {
  /** `undefined` for the first that is installed. */
  readonly builder: BuilderName | undefined;
}

/** @throws HandlerError `INVALID_REQUEST`. */
function readOptions(): Options {
  const { values } = readArguments({
    options: {
      out: { type: 'string' },
      image: { type: 'string' },
      checkpoint: { type: 'string' },
      architecture: { type: 'string' },
      base: { type: 'string' },
      builder: { type: 'string' },
      push: { type: 'boolean' },
    },
  });
  const { image: tag, out, base, builder, push, checkpoint } = values;
  if (tag === undefined) refuseWithoutEffect(values, ['base', 'builder', 'push'], 'without --image');
  else refuseWithoutEffect(values, ['out'], 'beside --image');
  const result =
    tag === undefined
      ? { file: resolve(out ?? 'lambda.zip') }
      : { tag, base, builder: readChoice('--builder', builder, builderNames), push: push ?? false };
  return { architecture: readArchitecture(values.architecture ?? process.arch), checkpoint, result };
}

/** Makes what is asked for, by way of a temporary folder. @returns its name. */
async function make({ result, ...options }: Options, scratch: string, signal: AbortSignal): Promise<string> {
  if ('file' in result) {
    await makeArchive(result.file, options, scratch, signal);
    return result.file;
  }
  await makeImage(result, options, scratch, signal);
  return result.tag;
}

type FunctionParts = Omit<Options, 'result'>;

async function makeArchive(file: string, parts: FunctionParts, scratch: string, signal: AbortSignal): Promise<void> {
  const folder = join(scratch, 'function');
  await layOut(folder, parts, join(folder, 'models'), signal);
  const { archiveBytes, unpackedBytes } = await requireWritable(file, () => writeArchive(folder, file));
  const inMegabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
  process.stderr.write(`${inMegabytes(archiveBytes)}, unpacked ${inMegabytes(unpackedBytes)}\n`);
  if (parts.checkpoint !== undefined) process.stderr.write(`Set BLIP_CHECKPOINT=models/${MODEL} for the function.\n`);
}

async function makeImage(
  options: ImageOptions,
  parts: FunctionParts,
  scratch: string,
  signal: AbortSignal,
): Promise<void> {
  const builder = findBuilder(options.builder); // Before anything is fetched.
  const context = join(scratch, 'function');
  const modelsFolder = join(scratch, 'models');
  await layOut(context, parts, modelsFolder, signal);
  const models = parts.checkpoint === undefined ? undefined : { folder: modelsFolder, name: MODEL };
  const image = { ...options, builder, architecture: parts.architecture, context, models };
  await buildFunctionImage(image, scratch, signal);
}

/** Writes the service, as it lies in other images too, and the checkpoint into a folder for it. */
async function layOut(
  folder: string,
  { architecture, checkpoint }: FunctionParts,
  modelsFolder: string,
  signal: AbortSignal,
): Promise<void> {
  const checkpoints = checkpoint === undefined ? [] : [{ name: MODEL, checkpoint }];
  await fillService(folder, { architecture, checkpoints, cuda: undefined, include: [] }, signal, modelsFolder);
}

await runCommand(usage, async () => {
  const options = readOptions();
  makeReadableFiles();
  const scratch = mkdtempSync(join(tmpdir(), 'blip-handler-lambda-'));
  try {
    process.stdout.write(`${await make(options, scratch, abortOnSignals())}\n`);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});
