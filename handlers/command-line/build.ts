import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BuildOptions, readBuildOptions } from './build/build-options.ts';
import { builderCalls, findBuilder, runBuilder } from './build/builder.ts';
import { makeReadableFiles } from './build/copied-files.ts';
import { warnOfEnvironment, warnOfFolder } from './build/environment-warnings.ts';
import { fillService, layOut } from './build/image.ts';
import { abortOnSignals, runCommand, sharedHelp } from './command.ts';
import { requireFree, requireWritable } from './new-checkpoint.ts';

/** `npm run image`: builds an image of the service, with checkpoints or without. Prints its name. */

const usage = `Usage: blip-handler build [options] [-- BUILDER_OPTIONS]      in a checkout: npm run -s image -- …

  --checkpoint PLACE  a checkpoint in the image, or several: a folder, or OWNER/NAME[@REVISION] of the Hub;
                      NAME=PLACE names the model (else none, and the start of a container chooses)
  --model-name NAME   another way to write --checkpoint
  --tag NAME:TAG      name of the image, with a registry or without (else blip-handler and its version)
  --push              pushes the image to the registry of its name
  --base IMAGE        the image below (else Debian slim; with --cuda NVIDIA's with CUDA and cuDNN)
  --node IMAGE        the image that Node.js is taken from (else node:22-bookworm-slim)
  --cuda VERSION      12 or 13: an image for NVIDIA cards
  --architecture A    x64 or arm64 (else that of this machine)
  --builder PROGRAM   docker (with buildx), podman or buildah (else the first of them that is installed)
  --file FILE         file with these options and more (else build.yaml, where there is one)
  --folder DIR        writes what the image would have to this new folder, and builds no image
  --model-only PLACE  an image of this checkpoint alone, in /models, as KServe mounts it; needs --tag
${sharedHelp}
Options behind -- are the builder's own, such as -- --no-cache. SOURCE_DATE_EPOCH is the time of the image, else 0.
docs/how-to/build-an-image.md describes build.yaml.
`;

async function build(options: BuildOptions): Promise<void> {
  const signal = abortOnSignals();
  makeReadableFiles();
  if (options.folder === undefined) {
    warnOfEnvironment(options.environment);
    await buildImage(options, signal);
  } else {
    warnOfFolder(options);
    await writeFolder(options.folder, options, signal);
  }
}

async function writeFolder(folder: string, options: BuildOptions, signal: AbortSignal): Promise<void> {
  requireFree(folder);
  await requireWritable(folder, () => fillService(folder, options, signal));
  process.stdout.write(`${folder}\n`);
}

async function buildImage(options: BuildOptions, signal: AbortSignal): Promise<void> {
  const builder = findBuilder(options.builder); // Before anything is fetched.
  const folder = mkdtempSync(join(tmpdir(), 'blip-handler-image-'));
  try {
    const request = await layOut(folder, options, signal);
    for (const call of builderCalls(builder, request)) await runBuilder(call, signal);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  process.stdout.write(`${options.tag}\n`);
}

await runCommand(usage, async () => await build(readBuildOptions()));
