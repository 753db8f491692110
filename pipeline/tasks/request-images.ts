import type { ImageProcessorConfig } from '../../checkpoint/config/image-processor-config.ts';
import { toHandlerError } from '../../protocol/errors.ts';
import { releaseImages } from '../images/held-images.ts';
import type { ImageSource } from '../images/image-source.ts';
import { type JointBudget, jointBudgets } from '../images/joint-budgets.ts';
import type { RgbImage } from '../images/rgb-image.ts';
import type { StageTimes } from '../infer-request.ts';
import { requireModelSize } from './model-size.ts';
import { atImage, type Failure, isFailure } from './outcome.ts';
import { recordSlowest, type TaskContext } from './task.ts';

/** How a checkpoint resizes images, and to which size. */
export interface ModelImages {
  readonly imageProcessor: ImageProcessorConfig;
  readonly imageSize: number;
}

/**
 * Loads all images of a request that needs them at once, each source once. An image that fails leaves the others alone,
 * but all fail when together they exceed the budget of decoded bytes. Loaded images hold memory until `releaseImages`.
 * @throws HandlerError `OVERLOADED` where one of them finds no memory: the request may be sent again.
 */
export async function loadImages(
  sources: readonly ImageSource[],
  model: ModelImages,
  { loadImage, imageOptions }: Pick<TaskContext, 'loadImage' | 'imageOptions'>,
  times: StageTimes,
): Promise<readonly (RgbImage | Failure)[]> {
  const load = async (source: ImageSource, budget: JointBudget | undefined): Promise<RgbImage | Failure> => {
    try {
      const options = budget === undefined ? imageOptions : { ...imageOptions, decodedBudget: budget };
      const loaded = await loadImage(source, options);
      recordSlowest(times, loaded);
      return requireOrRelease(loaded.image, model);
    } catch (thrown) {
      budget?.withdraw();
      return { error: toHandlerError(thrown) };
    }
  };
  const { decodedBudget, signal, client } = imageOptions;
  const unique = [...new Set(sources)];
  const budgets = decodedBudget === undefined ? [] : jointBudgets(decodedBudget, unique.length, signal, client);
  const loads = await Promise.all(unique.map((source, index) => load(source, budgets[index])));
  requireMemory(loads);
  return sources.flatMap((source, index) => {
    const loaded = loads[unique.indexOf(source)];
    return loaded === undefined ? [] : atImage(loaded, { index, count: sources.length });
  });
}

/** @throws HandlerError `OVERLOADED` where an image failed with it, after it gave back the memory of the others. */
function requireMemory(loads: readonly (RgbImage | Failure)[]): void {
  const refused = loads.find((load) => isFailure(load) && load.error.code === 'OVERLOADED');
  if (refused === undefined || !isFailure(refused)) return;
  releaseImages(loads.flatMap((load) => (isFailure(load) ? [] : [load])));
  throw refused.error;
}

/** @throws HandlerError as `requireModelSize` does, after it gave back the memory of the image. */
function requireOrRelease(image: RgbImage, { imageProcessor, imageSize }: ModelImages): RgbImage {
  try {
    requireModelSize(image, imageProcessor, imageSize);
    return image;
  } catch (thrown) {
    releaseImages([image]);
    throw thrown;
  }
}

/** Spreads rows of values over all items. Items that failed get rows of `filler`. */
export function spread(
  data: Float32Array,
  succeeded: readonly boolean[],
  rowLength: number,
  filler: number,
): readonly number[] {
  let next = 0;
  return succeeded.flatMap((ok) => {
    if (!ok) return Array.from({ length: rowLength }, () => filler);
    next += 1;
    return Array.from(data.subarray((next - 1) * rowLength, next * rowLength));
  });
}
