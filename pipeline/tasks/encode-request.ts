import type { NamedTensor } from '../../protocol/named-tensor.ts';
import type { ImageSource } from '../images/image-source.ts';
import type { RgbImage } from '../images/rgb-image.ts';
import type { TaskAnswer } from '../infer-request.ts';
import { watchRun } from '../stages.ts';
import { readInTurns } from '../texts/text-tokens.ts';
import type { RunQueue } from '../workers/run-queue.ts';
import { errorTensor, failuresOf, isSuccess, requireSomeSuccess, withErrors } from './outcome.ts';
import { loadImages, type ModelImages } from './request-images.ts';
import { noTimes, type RequestContext, recordSlowest } from './task.ts';

/** Images and texts that are encoded together. */
export interface EncodeRequest {
  readonly sources: readonly ImageSource[];
  readonly texts: readonly string[];
}

/** Images and texts that could be read. */
export interface EncodeInputs<Text> {
  readonly images: readonly RgbImage[];
  readonly texts: readonly Text[];
  /** For each source, whether its image was loaded. */
  readonly succeeded: readonly boolean[];
  /** Whose they are. */
  readonly client: string | undefined;
}

/** The parts of encoding that differ between tasks. */
export interface EncodeWork<Text, Batch extends { readonly images: readonly RgbImage[] }, Result> {
  /** @throws HandlerError `PROMPT_TOO_LONG`, which fails the request. */
  readonly readText: (text: string) => Text;
  readonly modelImages: ModelImages;
  /** Whether the request fails when no image can be loaded. It always does where it has no texts. */
  readonly needsImages: boolean;
  readonly toBatch: (inputs: EncodeInputs<Text>) => Batch;
  readonly queue: RunQueue<Batch, Result>;
  /** The tokens that a batch makes the model compute, by which clients take turns. */
  readonly workOf: (inputs: EncodeInputs<Text>) => number;
  /** The outputs of the task by name, except `error`. */
  readonly outputs: Readonly<Record<string, (result: Result, inputs: EncodeInputs<Text>) => readonly NamedTensor[]>>;
}

/**
 * Answers a request whose images and texts belong together: reads its texts, loads its images, runs one batch.
 * @throws HandlerError when a text is too long, or no image can be loaded; the signal's reason.
 */
export async function encodeRequest<
  Text,
  Batch extends { readonly images: readonly RgbImage[] },
  Result extends { readonly resizeMs: number; readonly computeMs: number },
>(
  request: EncodeRequest,
  outputNames: readonly string[],
  work: EncodeWork<Text, Batch, Result>,
  context: RequestContext,
): Promise<TaskAnswer> {
  const { signal, client, events } = context;
  const texts = await readInTurns(request.texts, work.readText, signal);
  const times = noTimes();
  const outcomes = await loadImages(request.sources, work.modelImages, context, times);
  if (work.needsImages || texts.length === 0) requireSomeSuccess(outcomes);
  const inputs = { images: outcomes.filter(isSuccess), texts, succeeded: outcomes.map(isSuccess), client };
  const { result, queueMs } = await watchRun(events, inputs.images.length + texts.length, (computing) =>
    work.queue.run(work.toBatch(inputs), { signal, client, work: work.workOf(inputs), computing }),
  );
  recordSlowest(times, { ...result, queueMs });
  const pack = (name: string) => (name === 'error' ? [errorTensor(outcomes)] : work.outputs[name]?.(result, inputs));
  return {
    outputs: withErrors(outputNames, outcomes).flatMap((name) => pack(name) ?? []),
    failures: failuresOf(outcomes),
    times,
    generatedTokens: 0,
  };
}
