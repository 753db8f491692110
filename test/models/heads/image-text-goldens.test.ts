import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { addGenerationParameters } from '../../../models/generation/parameters.ts';
import { imageVectors, withLanguageModel } from '../../../models/heads/image-text-to-text.ts';
import { type GraphForm, rootModule } from '../../../models/module.ts';
import { encodeVision } from '../../../models/towers/vision-states.ts';
import { addInput, addOutput, createGraph } from '../../../onnx/graph.ts';
import { createSession } from '../../../pipeline/sessions/runtime.ts';
import { expectClose } from '../../support/close-to.ts';
import { encoderInputs, openContinuationSession } from '../../support/continuation-session.ts';
import { inEachForm } from '../../support/forms.ts';
import {
  byParameters,
  expectGolden,
  type GenerationSession,
  parameterInputs,
  promptInputs,
  resizedImages,
} from '../../support/generation-session.ts';
import {
  checkpointFolder,
  type GoldenContinuation,
  type ImageTextCheckpointName,
  imageTextCheckpointNames,
  openBlip2Checkpoint,
  openGoldenTensors,
  readContinuations,
} from '../../support/goldens.ts';

/**
 * BLIP-2 and InstructBLIP against transformers: vision states, the vectors that the language model reads, first logits, and
 * texts.
 */

/**
 * T5 does not scale scores of attention, so that random weights make them steep: what transformers computes in float32 is up
 * to 2e-4 from what it computes in float64.
 */
const TOLERANCE = { absolute: 5e-4, relative: 1e-4 };

/** One golden row for each image and prompt: parameters change none of its stages. */
function stagesOf(rows: readonly GoldenContinuation[]): readonly GoldenContinuation[] {
  return [...new Map(rows.map((row) => [`${row.image}.${row.prompt_number}`, row])).values()];
}

/** The stages as outputs of one graph, of one row and its image. */
async function openStages(name: ImageTextCheckpointName, form: GraphForm) {
  const checkpoint = openBlip2Checkpoint(checkpointFolder(name));
  const { vision } = checkpoint.config;
  const weights = openWeights(checkpoint.folder);
  const graph = createGraph('stages');
  const model = rootModule(graph, weights, { form });
  const { op } = model;
  const images = addInput(graph, 'images', 'uint8', ['images', vision.imageSize, vision.imageSize, 3]);
  const inputIds = addInput(graph, 'input_ids', 'int64', ['rows', 'length']);
  const paddingLength = addInput(graph, 'padding_length', 'int64', ['rows']);
  const parameters = addGenerationParameters(graph);
  const vectors = imageVectors(model, checkpoint, { images }, op.constant('int64', [0]));
  const beginning = { ids: { inputIds, paddingLength }, vectors, parameters };
  const logits = withLanguageModel(model, checkpoint, beginning, ({ prompt, languageModel }) => {
    const embeddings = prompt.embeddings ?? languageModel.embed(model, inputIds);
    const cache = languageModel.emptyCache(model, op.constant('int64', [1]));
    return languageModel.decode(model, { embeddings, paddingLength, cache }).logits;
  });
  addOutput(graph, 'vision', encodeVision(model, checkpoint, images));
  addOutput(graph, 'vectors', vectors.vectors);
  addOutput(graph, 'logits', logits);
  const encoders = encoderInputs(checkpoint);
  const { dataFolder } = weights;
  const session = await createSession(graph, { executionProvider: 'cpu', threadCount: 1, dataFolder });
  const known = new Set(graph.inputs.map((input) => input.name));
  const goldens = openGoldenTensors(name);
  return {
    release: () => session.release(),
    run(row: GoldenContinuation) {
      const inputs = {
        images: resizedImages([row.image], goldens),
        ...promptInputs([row]),
        ...encoders([row]),
        ...parameterInputs([row]),
      };
      return session.run(Object.fromEntries(Object.entries(inputs).filter(([input]) => known.has(input))));
    },
  };
}

describe.each(inEachForm(imageTextCheckpointNames))(
  '%s in the %s form computes what transformers computes',
  (name, form) => {
    test('at each stage', async () => {
      const stages = await openStages(name, form);
      const goldens = openGoldenTensors(name);
      const rows = stagesOf(readContinuations(name));
      expect(rows.length).toBe(5);
      for (const row of rows) {
        const outputs = await stages.run(row);
        const compare = (output: string, golden: string) =>
          expectClose(outputs[output]?.data as Float32Array, goldens.floats(golden).data, TOLERANCE);
        compare('vision', `${row.image}.vision`);
        compare('vectors', `${row.image}.${row.prompt_number}.vectors`);
        compare('logits', `${row.image}.${row.prompt_number}.logits`);
      }
      await stages.release();
    });
  },
);

describe.each(inEachForm(imageTextCheckpointNames))(
  '%s in the %s form generates what transformers generates',
  (name, form) => {
    let session: GenerationSession<GoldenContinuation>;
    beforeAll(async () => {
      session = await openContinuationSession(name, { form });
    });
    afterAll(() => session?.release());

    test.each(byParameters(readContinuations(name)))('as one batch: %s', async (_, rows) => {
      const answers = await session.generate(rows);
      for (const [index, row] of rows.entries()) expectGolden(row, answers[index], TOLERANCE);
    });
  },
);
