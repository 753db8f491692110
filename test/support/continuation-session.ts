import { join } from 'node:path';
import type { Blip2Checkpoint } from '../../checkpoint/checkpoint.ts';
import { openWeights } from '../../checkpoint/weights/weights.ts';
import { imageTextToTextGraph } from '../../models/heads/image-text-to-text.ts';
import type { GraphOptions } from '../../models/module.ts';
import { stateShapeOf } from '../../pipeline/sessions/batch-images.ts';
import type { RuntimeTensor } from '../../pipeline/sessions/runtime.ts';
import { openTokenizer } from '../../pipeline/texts/tokenizer.ts';
import {
  type GenerationSession,
  int64s,
  openSessionOn,
  paddedTexts,
  parameterInputs,
  promptInputs,
  readSequences,
  resizedImages,
} from './generation-session.ts';
import {
  checkpointFolder,
  type GoldenContinuation,
  type ImageTextCheckpointName,
  openBlip2Checkpoint,
  openGoldenTensors,
} from './goldens.ts';
import { allNew } from './new-images.ts';

/** The graph of BLIP-2 and InstructBLIP, for golden rows. */

type EncodedRow = Pick<GoldenContinuation, 'input_ids' | 'prompt'>;

/** The inputs of what encoders read: T5's the prompt, and the Q-Former of InstructBLIP the same text in its own tokens. */
export function encoderInputs({ folder, config }: Blip2Checkpoint) {
  const { language, queryCount, readsInstruction } = config;
  const instructions = readsInstruction ? openTokenizer(join(folder, 'qformer_tokenizer')) : undefined;
  return (rows: readonly EncodedRow[]): Readonly<Record<string, RuntimeTensor>> => {
    const texts = language.kind === 't5' ? paddedTexts(rows.map((row) => row.input_ids.slice(queryCount))) : undefined;
    const instruction = instructions && paddedTexts(rows.map(({ prompt }) => instructions.encode(prompt ?? '')));
    return {
      ...(texts && { question_ids: texts.ids, question_length: texts.lengths }),
      ...(instruction && { instruction_ids: instruction.ids, instruction_length: instruction.lengths }),
    };
  };
}

export async function openContinuationSession(
  name: ImageTextCheckpointName,
  options: GraphOptions = {},
): Promise<GenerationSession<GoldenContinuation>> {
  const checkpoint = openBlip2Checkpoint(checkpointFolder(name));
  const weights = openWeights(checkpoint.folder);
  const graph = imageTextToTextGraph(checkpoint, weights, options);
  const session = await openSessionOn(graph, weights.dataFolder);
  const goldens = openGoldenTensors(name);
  const encoders = encoderInputs(checkpoint);
  return {
    async generate(rows) {
      const images = [...new Set(rows.map(({ image }) => image))];
      const outputs = await session.run({
        ...allNew(resizedImages(images, goldens), stateShapeOf(graph)),
        image_index: int64s(rows.map(({ image }) => images.indexOf(image))),
        ...encoders(rows),
        ...promptInputs(rows),
        ...parameterInputs(rows),
      });
      return readSequences(rows, outputs);
    },
    release: () => session.release(),
  };
}
