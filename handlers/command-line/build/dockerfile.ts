import type { BuildOptions } from './build-options.ts';

/** The instructions that follow those of the Dockerfile, for what differs from image to image. */

/** The name of the builder's context with the checkpoints. The service's own context need not be copied with them. */
export const MODELS_CONTEXT = 'checkpoints';
const MODELS_FOLDER = '/app/models';

type AddedParts = Pick<BuildOptions, 'checkpoints' | 'hasNamedModels' | 'include' | 'environment' | 'labels'>;

/** The Dockerfile of the service with what the options add: checkpoints last, so that they stay one layer of their own. */
export function addInstructions(
  dockerfile: string,
  { checkpoints, hasNamedModels, include, environment, labels }: AddedParts,
): string {
  const variables = { ...modelVariables(checkpoints, hasNamedModels), ...environment };
  const lines = [
    ...Object.entries(labels).map(([name, value]) => `LABEL ${name}=${quote(value)}`),
    ...Object.entries(variables).map(([name, value]) => `ENV ${name}=${quote(value)}`),
    ...(include.length > 0 ? ['COPY --from=service /source/service/include /app/include'] : []),
    ...(checkpoints.length > 0 ? [`COPY --from=${MODELS_CONTEXT} . ${MODELS_FOLDER}`] : []),
  ];
  return lines.length === 0
    ? dockerfile
    : `${dockerfile.trimEnd()}\n\n# From the options of the build.\n${lines.join('\n')}\n`;
}

/** The Dockerfile of an image that has a checkpoint alone, as KServe mounts it. */
export const modelDockerfile = `FROM scratch
LABEL org.opencontainers.image.title="checkpoint for blip-handler"
COPY . /models
`;

/** The settings that serve the checkpoints of the image. One checkpoint without a name is called by its task. */
function modelVariables(
  checkpoints: AddedParts['checkpoints'],
  hasNamedModels: boolean,
): Readonly<Record<string, string>> {
  const [first] = checkpoints;
  if (first === undefined) return {};
  if (!hasNamedModels) return { BLIP_CHECKPOINT: `${MODELS_FOLDER}/${first.name}` };
  return { BLIP_MODELS: checkpoints.map(({ name }) => `${name}=${MODELS_FOLDER}/${name}`).join(',') };
}

/** A value in double quotes, in which a Dockerfile replaces variables and reads backslashes. */
function quote(value: string): string {
  return `"${value.replace(/[\\"$]/g, '\\$&')}"`;
}
