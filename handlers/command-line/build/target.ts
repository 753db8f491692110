import { HandlerError } from '../../../protocol/errors.ts';

/** The machines that images are built for: Linux with glibc, on the processors that onnxruntime-node and sharp have. */
export const imageArchitectures = ['x64', 'arm64'] as const;
export type ImageArchitecture = (typeof imageArchitectures)[number];

/** An architecture by Node's name or by that of images. @throws HandlerError `INVALID_REQUEST`. */
export function readArchitecture(text: string): ImageArchitecture {
  const architecture = imageArchitectures.find((each) => each === text || platformOf(each) === `linux/${text}`);
  if (architecture !== undefined) return architecture;
  throw new HandlerError(
    'INVALID_REQUEST',
    `Expected the architecture ${imageArchitectures.join(' or ')}, got ${JSON.stringify(text)}. Choose it with --architecture.`,
  );
}

/** The name that builders and registries use. */
export function platformOf(architecture: ImageArchitecture): string {
  return architecture === 'x64' ? 'linux/amd64' : 'linux/arm64';
}
