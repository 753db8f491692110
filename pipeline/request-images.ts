import type { ImageProcessorConfig } from '../checkpoint/image-processor-config.ts';
import { toHandlerError } from '../protocol/errors.ts';
import type { RgbImage } from './image-decode.ts';
import { requireModelSize } from './image-resizer.ts';
import type { Failure } from './outcome.ts';
import { recordSlowest, type StageTimes, type TaskContext } from './task.ts';

/** Loads all images of a request, each source once. One that fails leaves the others alone. */
export async function loadImages(
  sources: readonly string[],
  model: { readonly imageProcessor: ImageProcessorConfig; readonly imageSize: number },
  { loadImage, imageOptions }: TaskContext,
  times: StageTimes,
): Promise<readonly (RgbImage | Failure)[]> {
  const load = async (source: string): Promise<RgbImage | Failure> => {
    try {
      const loaded = await loadImage(source, imageOptions);
      requireModelSize(loaded.image, model.imageProcessor, model.imageSize);
      recordSlowest(times, loaded);
      return loaded.image;
    } catch (thrown) {
      return { error: toHandlerError(thrown) };
    }
  };
  const loads = new Map([...new Set(sources)].map((source) => [source, load(source)]));
  return await Promise.all(sources.map((source) => loads.get(source) ?? load(source)));
}

/** Spreads rows of values over all items: those that failed have `filler`. */
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
