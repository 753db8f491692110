import { availableParallelism } from 'node:os';
import { type Checkpoint, openCheckpoint } from '../../checkpoint/checkpoint.ts';
import { type CalibratedInput, type Calibration, stepsOf } from '../../checkpoint/quantize/calibration.ts';
import { requireFloats } from '../../checkpoint/quantize/quantize-checkpoint.ts';
import { openWeights, type Weights } from '../../checkpoint/weights/weights.ts';
import type { ProductInput } from '../../models/calibration/image-products.ts';
import { rangesGraph, roundingGraph, type StatisticsGraph } from '../../models/calibration/statistics.ts';
import { createImageResizer, type ImageResizer } from '../sessions/image-resizer.ts';
import { createSession, type RuntimeTensor } from '../sessions/runtime.ts';
import { float32Data } from '../sessions/tensors.ts';
import { picturesOf, readPicture } from './pictures.ts';
import { type FeatureWeights, featureWeights, smoothingFactors } from './smoothing.ts';

export interface CalibrateOptions {
  /** Called after each pass over a picture; each goes through two. */
  readonly onProgress?: (passes: number, allPasses: number) => void;
  readonly signal?: AbortSignal;
}

/** Parts of the range that the pictures showed. What lies beyond the part is cut off, and its steps are finer. */
const PARTS_OF_RANGE = [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4] as const;

/** What the pictures showed of one product input. All are [width]. */
interface Ranges {
  readonly smallest: Float32Array;
  readonly largest: Float32Array;
}

/**
 * Runs a checkpoint of floats over pictures, and finds the steps in which its image tower's rows lose least. The first
 * pass finds the range of each feature, from which follow the factors that the LayerNorms are divided by. The second
 * measures the error of each part of the range. Each pass holds one picture at a time.
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
  const threadCount = availableParallelism();
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
  const ranges = await measureRanges(statistics, run);
  const plans = statistics.inputs.map((input, index) => planOf(input, ranges[index], weights));
  const errors = plans.map((plan) => plan.candidates.map(() => 0));
  const rounded = plans.map(({ factors, candidates }) => ({
    ...(factors === undefined ? {} : { factors }),
    roundings: candidates.map(stepsOf),
  }));
  await run(roundingGraph(checkpoint, weights, rounded), (outputs) => {
    for (const [index, sums] of errors.entries())
      for (const candidate of sums.keys())
        sums[candidate] =
          (sums[candidate] ?? 0) + weighted(float32Data(outputs, `error.${index}.${candidate}`), plans[index]);
  });
  return plans.map((plan, index) => bestOf(plan, errors[index] ?? []));
}

async function measureRanges(statistics: StatisticsGraph, run: Run): Promise<readonly Ranges[]> {
  const ranges: Ranges[] = [];
  await run(statistics, (outputs) => {
    for (const index of statistics.inputs.keys()) {
      const [smallest, largest] = [float32Data(outputs, `smallest.${index}`), float32Data(outputs, `largest.${index}`)];
      const before = ranges[index] ?? { smallest, largest };
      ranges[index] = {
        smallest: before.smallest.map((value, feature) => Math.min(value, smallest[feature] ?? value)),
        largest: before.largest.map((value, feature) => Math.max(value, largest[feature] ?? value)),
      };
    }
  });
  return ranges;
}

/** One product input, with the ways of rounding it that are tried. */
interface Plan {
  readonly input: ProductInput;
  readonly weights: FeatureWeights;
  readonly factors: Float32Array | undefined;
  readonly candidates: readonly Pick<CalibratedInput, 'smallest' | 'largest'>[];
}

function planOf(input: ProductInput, ranges: Ranges | undefined, weights: Weights): Plan {
  const { smallest, largest } = ranges ?? { smallest: new Float32Array(0), largest: new Float32Array(0) };
  const ofFeatures = featureWeights(weights, input.matrices, smallest.length);
  const magnitudes = smallest.map((value, feature) => Math.max(-value, largest[feature] ?? 0));
  const factors = input.norm === undefined ? undefined : smoothingFactors(magnitudes, ofFeatures);
  const [from, to] = [least(divide(smallest, factors)), -least(divide(largest, factors).map((value) => -value))];
  const candidates = PARTS_OF_RANGE.map((part) => ({ smallest: from * part, largest: to * part }));
  return { input, weights: ofFeatures, factors, candidates };
}

function divide(values: Float32Array, factors: Float32Array | undefined): Float32Array {
  return factors === undefined ? values : values.map((value, feature) => value / (factors[feature] ?? 1));
}

function least(values: Float32Array): number {
  return values.reduce((smallest, value) => Math.min(smallest, value), 0);
}

/** What squared errors of the features become in the products, whose weights are multiplied by the factors. */
function weighted(errors: Float32Array, plan: Plan | undefined): number {
  return errors.reduce((sum, error, feature) => {
    const factor = plan?.factors?.[feature] ?? 1;
    return sum + error * factor * factor * (plan?.weights.squares[feature] ?? 0);
  }, 0);
}

function bestOf({ input, factors, candidates }: Plan, errors: readonly number[]): CalibratedInput {
  const { smallest, largest } = candidates[errors.indexOf(Math.min(...errors))] ?? { smallest: 0, largest: 0 };
  const { norm, matrices } = input;
  const smoothing = norm === undefined || factors === undefined ? undefined : { norm, factors };
  return { matrices, smallest, largest, ...(smoothing === undefined ? {} : { smoothing }) };
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
    foldConstants: statistics.graph.castInitializers.size > 0,
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
