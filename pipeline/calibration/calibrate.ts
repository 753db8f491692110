import { type Checkpoint, openCheckpoint } from '../../checkpoint/checkpoint.ts';
import type { CalibratedInput, Calibration } from '../../checkpoint/quantize/calibration.ts';
import { requireFloats } from '../../checkpoint/quantize/quantize-checkpoint.ts';
import { openWeights, type Weights } from '../../checkpoint/weights/weights.ts';
import { rangesGraph, roundingGraph, type StatisticsGraph } from '../../models/calibration/statistics.ts';
import { availableCpus } from '../container-limits.ts';
import { createImageResizer, type ImageResizer } from '../sessions/image-resizer.ts';
import { createSession, type RuntimeTensor } from '../sessions/runtime.ts';
import { float32Data } from '../sessions/tensors.ts';
import { Candidates, type SeenRows } from './candidates.ts';
import { picturesOf, readPicture } from './pictures.ts';

export interface CalibrateOptions {
  /** Called after each pass over a picture; each goes through two. */
  readonly onProgress?: (passes: number, allPasses: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Runs a checkpoint of floats over pictures, and finds the steps in which its image tower's rows lose least. The first
 * pass finds the range of each feature. The second measures what rounding costs in parts of the range. Each pass
 * holds one picture at a time.
 * @throws CheckpointError when the checkpoint cannot be read or is int8 already; HandlerError when the folder has no
 *   pictures, or one does not decode; the reason of `signal`.
 */
export async function calibrate(
  folder: string,
  picturesFolder: string,
  options: CalibrateOptions = {},
): Promise<Calibration> {
  const pictures = picturesOf(picturesFolder);
  requireFloats(folder);
  const checkpoint = openCheckpoint(folder);
  const weights = openWeights(folder);
  const threadCount = availableCpus();
  const resizer = await createImageResizer(checkpoint.imageProcessor, checkpoint.config.vision.imageSize, threadCount);
  let passes = 0;
  const onPicture = () => {
    passes += 1;
    options.onProgress?.(passes, 2 * pictures.length);
    options.signal?.throwIfAborted();
  };
  const run = (statistics: StatisticsGraph, use: UseOutputs) =>
    overPictures({ weights, statistics, resizer, pictures, threadCount, onPicture }, use);
  try {
    return { inputs: await calibratedInputs(checkpoint, weights, run), pictureCount: pictures.length };
  } finally {
    await resizer.release();
  }
}

type UseOutputs = (outputs: Readonly<Record<string, RuntimeTensor>>) => void;
type Run = (statistics: StatisticsGraph, use: UseOutputs) => Promise<void>;

async function calibratedInputs(
  checkpoint: Checkpoint,
  weights: Weights,
  run: Run,
): Promise<readonly CalibratedInput[]> {
  const statistics = rangesGraph(checkpoint, weights);
  const seen = await see(statistics, run);
  const all = statistics.inputs.flatMap((input, index) => {
    const rows = seen[index];
    return rows === undefined ? [] : [new Candidates(input, rows, weights)];
  });
  const roundings = all.map((candidates) => candidates.roundings);
  await run(roundingGraph(checkpoint, weights, roundings), (outputs) => {
    for (const [index, candidates] of all.entries())
      candidates.add((rounding) => float32Data(outputs, `error.${index}.${rounding}`));
  });
  return all.map((candidates) => candidates.best());
}

async function see(statistics: StatisticsGraph, run: Run): Promise<readonly SeenRows[]> {
  const seen: SeenRows[] = [];
  await run(statistics, (outputs) => {
    for (const index of statistics.inputs.keys()) {
      const of = (name: string) => float32Data(outputs, `${name}.${index}`);
      const [smallest, largest] = [of('smallest'), of('largest')];
      const before = seen[index] ?? { smallest, largest };
      seen[index] = {
        smallest: before.smallest.map((value, feature) => Math.min(value, smallest[feature] ?? value)),
        largest: before.largest.map((value, feature) => Math.max(value, largest[feature] ?? value)),
      };
    }
  });
  return seen;
}

interface Pass {
  readonly weights: Weights;
  readonly statistics: StatisticsGraph;
  readonly resizer: ImageResizer;
  readonly pictures: readonly string[];
  readonly threadCount: number;
  readonly onPicture: () => void;
}

async function overPictures(
  { weights, statistics, resizer, pictures, threadCount, onPicture }: Pass,
  use: UseOutputs,
): Promise<void> {
  const session = await createSession(statistics.graph, {
    executionProvider: 'cpu',
    threadCount,
    dataFolder: weights.dataFolder,
    foldConstants: statistics.graph.convertedInitializers.size > 0,
  });
  try {
    for (const picture of pictures) {
      const images = await resizer.resizeAll([await readPicture(picture)]);
      use(await session.run({ images }));
      onPicture();
    }
  } finally {
    await session.release();
  }
}
