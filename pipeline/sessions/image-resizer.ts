import type { ImageProcessorConfig, Resize } from '../../checkpoint/config/image-processor-config.ts';
import { cropOf, resizeGraph } from '../../models/towers/image-processor.ts';
import type { RgbImage } from '../images/rgb-image.ts';
import { createSession, type RuntimeTensor, type Session } from './runtime.ts';
import { runtimeInt64s } from './tensors.ts';

/** Resizes images to the size of a model, as the checkpoint's image processor does. */
export interface ImageResizer {
  /** Returns uint8 [images, size, size, 3]. */
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

/** An image of the model's size still changes where it is first enlarged, and then its middle is cut out. */
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
