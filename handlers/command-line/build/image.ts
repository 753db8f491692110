import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openCheckpoint } from '../../../checkpoint/checkpoint.ts';
import type { CudaVersion } from '../../../pipeline/cuda/provider-install.ts';
import { HandlerError } from '../../../protocol/errors.ts';
import { version } from '../../service/version.ts';
import { locate } from '../new-checkpoint.ts';
import type { BakedCheckpoint, BuildOptions, IncludedPath } from './build-options.ts';
import type { ImageRequest } from './builder.ts';
import { copyForImage } from './copied-files.ts';
import { addInstructions, MODELS_CONTEXT, modelDockerfile } from './dockerfile.ts';
import { findDist, writeService } from './service-folder.ts';
import { platformOf } from './target.ts';

/** Lays out the folders that a builder makes an image of. */

/** NVIDIA's images with CUDA and cuDNN 9, of the versions that onnxruntime's providers are built for. */
export const cudaBases: Readonly<Record<CudaVersion, string>> = {
  12: 'docker.io/nvidia/cuda:12.9.1-cudnn-runtime-ubuntu24.04',
  13: 'docker.io/nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04',
};

/** Fetches and copies all that the image needs into `folder`. @throws HandlerError; CheckpointError. */
export async function layOut(folder: string, options: BuildOptions, signal: AbortSignal): Promise<ImageRequest> {
  const { tag, push, builderArguments: more } = options;
  const context = join(folder, 'context');
  const dockerfile = join(folder, 'Dockerfile');
  const common = { tag, push, more, context, dockerfile };
  if (options.modelOnly) {
    for (const { checkpoint } of options.checkpoints) await copyCheckpoint(checkpoint, context, signal);
    writeFileSync(dockerfile, modelDockerfile);
    return { ...common, contexts: {}, buildArguments: {}, platform: undefined };
  }
  const service = join(context, 'service');
  await fillService(service, options, signal, join(folder, MODELS_CONTEXT));
  const labels = { 'org.opencontainers.image.version': version, ...options.labels };
  const text = addInstructions(readFileSync(join(findDist(), 'Dockerfile'), 'utf8'), { ...options, labels });
  writeFileSync(dockerfile, text);
  const contexts = options.checkpoints.length > 0 ? { [MODELS_CONTEXT]: join(folder, MODELS_CONTEXT) } : {};
  return { ...common, contexts, buildArguments: argumentsOf(options), platform: platformOf(options.architecture) };
}

/** Writes the service with its included files, and its checkpoints into a folder for them. */
export async function fillService(
  folder: string,
  options: Pick<BuildOptions, 'architecture' | 'cuda' | 'checkpoints' | 'include'>,
  signal: AbortSignal,
  modelsFolder: string = join(folder, 'models'),
): Promise<void> {
  // Checkpoints come first: a name that is wrong should cost no copies.
  for (const each of options.checkpoints) await bake(each, modelsFolder, signal);
  writeService(folder, options);
  for (const each of options.include) include(each, join(folder, 'include'));
}

async function bake({ name, checkpoint }: BakedCheckpoint, parent: string, signal: AbortSignal): Promise<void> {
  await copyCheckpoint(checkpoint, join(parent, name), signal);
}

/** Copies a checkpoint, fetched from the Hub where the cache lacks it. Hidden files, such as .git, are left out. */
async function copyCheckpoint(checkpoint: string, destination: string, signal: AbortSignal): Promise<void> {
  const source = await locate(checkpoint, signal);
  openCheckpoint(source); // Refuses a folder that no server could load.
  copyForImage(source, destination, { isWanted: (path) => !path.startsWith('.'), mayLink: true });
}

function include({ path, source }: IncludedPath, parent: string): void {
  try {
    copyForImage(source, join(parent, path));
  } catch (cause) {
    throw new HandlerError('BUILD_FILE_INVALID', `Expected to copy ${path} of include, got ${String(cause)}.`, {
      cause,
    });
  }
}

/** The Dockerfile has defaults of its own for a CPU. */
function argumentsOf({ base, node, cuda }: BuildOptions): Readonly<Record<string, string>> {
  const chosen = Object.entries({ BASE: base ?? (cuda && cudaBases[cuda]), NODE: node });
  return Object.fromEntries(chosen.filter((entry): entry is [string, string] => entry[1] !== undefined));
}
