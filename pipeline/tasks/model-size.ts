import type { ImageProcessorConfig, Resize } from '../../checkpoint/config/image-processor-config.ts';
import { cropOf } from '../../models/towers/image-processor.ts';
import { HandlerError } from '../../protocol/errors.ts';
import type { RgbImage } from '../images/rgb-image.ts';

/** The limit of an image after its shorter side is resized. An image of one line of pixels would grow without end. */
const MAX_RESIZED_PIXELS = 16_000_000;

/**
 * Refuses an image that the session could not bring to the size of the model.
 * @throws HandlerError `IMAGE_UNSUPPORTED` when the checkpoint does not resize and the image has another size;
 *   `IMAGE_TOO_LARGE` when the image is so long that resizing it, before its middle is cut out, would take all memory.
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
    `Expected an image that has at most ${MAX_RESIZED_PIXELS} pixels when its shorter side has ${resize.shortestEdge}, ` +
      `got ${image.width} x ${image.height}.`,
  );
}
