import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  type BuilderName,
  builderCalls,
  type ImageRequest,
  runBuilder,
} from '../../handlers/command-line/build/builder.ts';
import { MODELS_CONTEXT } from '../../handlers/command-line/build/dockerfile.ts';
import { type ImageArchitecture, platformOf } from '../../handlers/command-line/build/target.ts';

/** The image of a function. */

const TASK_FOLDER = '/var/task';

export interface FunctionImage {
  readonly tag: string;
  readonly architecture: ImageArchitecture;
  /** `undefined` for AWS's. */
  readonly base: string | undefined;
  readonly builder: BuilderName;
  readonly push: boolean;
  /** The folder of the function, without the checkpoint. */
  readonly context: string;
  /** The folder that has the checkpoint's folder in it, and that one's name; `undefined` without a checkpoint. */
  readonly models: { readonly folder: string; readonly name: string } | undefined;
}

/**
 * Builds the image, and pushes it if asked to.
 * @param scratch a folder for the Dockerfile.
 * @throws HandlerError `BUILD_FAILED`.
 */
export async function buildFunctionImage(image: FunctionImage, scratch: string, signal: AbortSignal): Promise<void> {
  const dockerfile = join(scratch, 'Dockerfile');
  writeFileSync(dockerfile, dockerfileOf(image));
  const request: ImageRequest = {
    tag: image.tag,
    dockerfile,
    context: image.context,
    contexts: image.models === undefined ? {} : { [MODELS_CONTEXT]: image.models.folder },
    buildArguments: image.base === undefined ? {} : { BASE: image.base },
    platform: platformOf(image.architecture),
    push: image.push,
    more: [],
  };
  for (const call of builderCalls(image.builder, request)) await runBuilder(call, signal);
}

/** The checkpoint comes last: docker makes it a layer of its own, which a new version of the function does not send again. */
function dockerfileOf({ models }: FunctionImage): string {
  const text = readFileSync(fileURLToPath(new URL('Dockerfile', import.meta.url)), 'utf8');
  if (models === undefined) return text;
  return `${text}
# From the options of the build.
COPY --from=${MODELS_CONTEXT} . ${TASK_FOLDER}/models
ENV BLIP_CHECKPOINT=${TASK_FOLDER}/models/${models.name}
`;
}
