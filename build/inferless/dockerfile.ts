import { cudaBases } from '../../handlers/command-line/build/image.ts';

/** Dockerfile.cuda: Inferless builds a Dockerfile as it stands, without arguments, and its machines have NVIDIA cards. */

const CUDA = '12';

const head = `# The Dockerfile with CUDA ${CUDA} by default, for platforms that give no arguments to a build. Made by \`npm run inferless\`.
#
`;

/** The Dockerfile with other defaults. @throws Error where it lacks an argument that gets one. */
export function cudaDockerfile(dockerfile: string): string {
  const base = replaceLine(dockerfile, /^ARG BASE=.*$/m, `ARG BASE=${cudaBases[CUDA]}`);
  return head + replaceLine(base, /^ARG CUDA$/m, `ARG CUDA=${CUDA}`);
}

function replaceLine(text: string, line: RegExp, replacement: string): string {
  if (!line.test(text)) throw new Error(`Expected the Dockerfile to have a line ${line.source}, got none.`);
  return text.replace(line, replacement);
}
