import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { imageVectors, withImages } from '../../../models/heads/image-text-to-text.ts';
import { optLanguageModel } from '../../../models/language-models/opt.ts';
import { child, type GraphForm, rootModule } from '../../../models/module.ts';
import { encodeVision } from '../../../models/towers/vision-states.ts';
import { addInput, addOutput, createGraph } from '../../../onnx/graph.ts';
import { createSession } from '../../../pipeline/sessions/runtime.ts';
import { expectClose } from '../../support/close-to.ts';
import { inEachForm } from '../../support/forms.ts';
import {
  byParameters,
  expectGolden,
  type GenerationSession,
  int64s,
  openBlip2Session,
  resizedImages,
} from '../../support/generation-session.ts';
import {
  type Blip2CheckpointName,
  blip2CheckpointNames,
  checkpointFolder,
  openBlip2Checkpoint,
  openGoldenTensors,
  readBlip2Goldens,
  readGoldenJson,
} from '../../support/goldens.ts';

/** BLIP-2 with OPT against transformers: vision states, the vectors that the language model reads, first logits, and texts. */

const TOLERANCE = { absolute: 1e-4, relative: 1e-4 };

interface Golden {
  readonly image: string;
  readonly prompt_number: number;
  readonly input_ids: readonly number[];
}

/** One golden row for each image and prompt: parameters change none of its stages. */
function rowsOf(name: Blip2CheckpointName): readonly Golden[] {
  const rows = readGoldenJson<readonly Golden[]>(`${name}.json`);
  return [...new Map(rows.map((row) => [`${row.image}.${row.prompt_number}`, row])).values()];
}

/** The stages as outputs of one graph, of one row and its image. */
async function openStages(name: Blip2CheckpointName, form: GraphForm) {
  const checkpoint = openBlip2Checkpoint(checkpointFolder(name));
  const { vision, language } = checkpoint.config;
  if (language.kind !== 'opt') throw new Error(`Expected OPT in ${name}, got ${language.kind}.`);
  const weights = openWeights(checkpoint.folder);
  const graph = createGraph('stages');
  const model = rootModule(graph, weights, { form });
  const { op } = model;
  const images = addInput(graph, 'images', 'uint8', ['images', vision.imageSize, vision.imageSize, 3]);
  const inputIds = addInput(graph, 'input_ids', 'int64', ['rows', 'length']);
  const paddingLength = op.constant('int64', [0]);
  const languageModel = optLanguageModel(child(model, 'language_model'), language);
  const vectors = imageVectors(model, checkpoint, { images }, op.constant('int64', [0]));
  const embeddings = withImages(model, checkpoint.config, languageModel, { inputIds, paddingLength }, vectors);
  const cache = languageModel.emptyCache(model, op.constant('int64', [1]));
  addOutput(graph, 'vision', encodeVision(model, checkpoint, images));
  addOutput(graph, 'vectors', vectors.vectors);
  addOutput(graph, 'logits', languageModel.decode(model, { embeddings, paddingLength, cache }).logits);
  return await createSession(graph, { executionProvider: 'cpu', threadCount: 1, dataFolder: weights.dataFolder });
}

describe.each(inEachForm(blip2CheckpointNames))(
  '%s in the %s form computes what transformers computes',
  (name, form) => {
    test('at each stage', async () => {
      const session = await openStages(name, form);
      const goldens = openGoldenTensors(name);
      const rows = rowsOf(name);
      expect(rows.length).toBe(5);
      for (const { image, prompt_number: number, input_ids: ids } of rows) {
        const outputs = await session.run({
          images: resizedImages([image], goldens),
          input_ids: int64s(ids, [1, ids.length]),
        });
        const compare = (output: string, golden: string) =>
          expectClose(outputs[output]?.data as Float32Array, goldens.floats(golden).data, TOLERANCE);
        compare('vision', `${image}.vision`);
        compare('vectors', `${image}.${number}.vectors`);
        compare('logits', `${image}.${number}.logits`);
      }
      await session.release();
    });
  },
);

describe.each(inEachForm(blip2CheckpointNames))(
  '%s in the %s form generates what transformers generates',
  (name, form) => {
    let session: GenerationSession;
    beforeAll(async () => {
      session = await openBlip2Session(name, { form });
    });
    afterAll(() => session?.release());

    test.each(byParameters(readBlip2Goldens(name)))('as one batch: %s', async (_, rows) => {
      const answers = await session.generate(rows);
      for (const [index, row] of rows.entries()) expectGolden(row, answers[index]);
    });
  },
);
