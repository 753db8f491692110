import type { ImageProcessorConfig, Resize } from '../../checkpoint/config/image-processor-config.ts';
import { cropOf, resizeGraph } from '../../models/towers/image-processor.ts';
import { HandlerError } from '../../protocol/errors.ts';
import type { RgbImage } from '../images/image-decode.ts';
import { createSession, type RuntimeTensor, type Session } from './runtime.ts';
import { runtimeInt64s } from './tensors.ts';

/** Brings images to the size of a model, as its image processor does. */
export interface ImageResizer {
  /** All images in one tensor uint8 [images, size, size, 3]. */
  resizeAll(images: readonly RgbImage[]): Promise<RuntimeTensor>;
  release(): Promise<void>;
}

export async function createImageResizer(
  { resize }: ImageProcessorConfig,
  imageSize: number,
  threadCount: number,
): Promise<ImageResizer> {
  const options = { executionProvider: 'cpu', threadCount } as const;
  const session = resize === undefined ? undefined : await createSession(resizeGraph(resize), options);
  const resizeOne = async (image: RgbImage): Promise<Uint8Array> => {
    if (session === undefined || resize === undefined || staysAsItIs(resize, image)) return image.data;
    return await run(session, image, resize.kind === 'crop' ? cropInputs(cropOf(resize, image)) : {});
  };
  return {
    async resizeAll(images) {
      const lengthBytes = imageSize * imageSize * 3;
      const data = new Uint8Array(images.length * lengthBytes);
      for (const [index, image] of images.entries()) data.set(await resizeOne(image), index * lengthBytes);
      return { data, shape: [images.length, imageSize, imageSize, 3] };
    },
    release: async () => await session?.release(),
  };
}

/** A picture of one line of pixels would be as long as a film when its shorter side is resized: this is 80 MB of work. */
const MAX_RESIZED_PIXELS = 16_000_000;

/**
 * @throws HandlerError `IMAGE_UNSUPPORTED` when nothing resizes images and this one has another size; `IMAGE_TOO_LARGE`
 *   when it is so long that resizing it, before its middle is cut out, would take all memory.
 */
export function requireModelSize(
  { width, height }: RgbImage,
  { resize }: ImageProcessorConfig,
  imageSize: number,
): void {
  if (resize?.kind === 'crop') requireCroppable(resize, { width, height });
  if (resize !== undefined || (width === imageSize && height === imageSize)) return;
  throw new HandlerError(
    'IMAGE_UNSUPPORTED',
    `Expected an image of ${imageSize} x ${imageSize}, because this checkpoint does not resize, got ${width} x ${height}.`,
  );
}

function requireCroppable(resize: Extract<Resize, { kind: 'crop' }>, image: Pick<RgbImage, 'width' | 'height'>): void {
  const [, height = 0, width = 0] = cropOf(resize, image).resizedSize;
  if (height * width <= MAX_RESIZED_PIXELS) return;
  throw new HandlerError(
    'IMAGE_TOO_LARGE',
    `Expected an image that has at most ${MAX_RESIZED_PIXELS} pixels when its shorter side has ${resize.shortestEdge}, got ${image.width} x ${image.height}.`,
  );
}

/** Even an image of the model's size changes, where a larger one is made of it before its middle is cut out. */
function staysAsItIs(resize: Resize, { width, height }: RgbImage): boolean {
  const side = resize.kind === 'crop' ? resize.shortestEdge : resize.side;
  return side === resize.side && width === side && height === side;
}

async function run(
  session: Session,
  image: RgbImage,
  inputs: Readonly<Record<string, RuntimeTensor>>,
): Promise<Uint8Array> {
  const shape = [1, image.height, image.width, 3];
  const { resized } = await session.run({ image: { data: image.data, shape }, ...inputs });
  if (!(resized?.data instanceof Uint8Array)) throw new TypeError('Expected the resize graph to return uint8.');
  return resized.data;
}

function cropInputs(crop: ReturnType<typeof cropOf>): Record<string, RuntimeTensor> {
  return { resized_size: runtimeInt64s(crop.resizedSize), crop_start: runtimeInt64s(crop.cropStart) };
}
