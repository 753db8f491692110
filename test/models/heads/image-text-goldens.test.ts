import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LanguageConfig } from '../../../checkpoint/config/blip2-config.ts';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import type { LanguageModel } from '../../../models/generation/language-model.ts';
import { imageVectors, withImages } from '../../../models/heads/image-text-to-text.ts';
import { llamaLanguageModel } from '../../../models/language-models/llama.ts';
import { optLanguageModel } from '../../../models/language-models/opt.ts';
import { child, type GraphForm, type Module, rootModule } from '../../../models/module.ts';
import { encodeVision } from '../../../models/towers/vision-states.ts';
import type { Real } from '../../../onnx/element-type.ts';
import { addInput, addOutput, createGraph, type Value } from '../../../onnx/graph.ts';
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

/** BLIP-2 with OPT and LLaMA against transformers: vision states, the vectors that the language model reads, first logits, and texts. */

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

/** Writes the first logits of one row, from a prompt in which the image is put. */
type WriteLogits = (model: Module, row: Row) => Value<'float32'>;

/** Embeds the row's prompt by a language model. */
type Row = (languageModel: Pick<LanguageModel<object>, 'embed'>) => Value<Real>;

function firstLogits<Cache extends object>(model: Module, languageModel: LanguageModel<Cache>, row: Row) {
  const { op } = model;
  const cache = languageModel.emptyCache(model, op.constant('int64', [1]));
  const step = { embeddings: row(languageModel), paddingLength: op.constant('int64', [0]), cache };
  return languageModel.decode(model, step).logits;
}

function logitsOf(name: Blip2CheckpointName, language: LanguageConfig): WriteLogits {
  const module = (model: Module) => child(model, 'language_model');
  if (language.kind === 'opt')
    return (model, row) => firstLogits(model, optLanguageModel(module(model), language), row);
  if (language.kind === 'llama')
    return (model, row) => firstLogits(model, llamaLanguageModel(module(model), language), row);
  throw new Error(`Expected a decoder alone in ${name}, got ${language.kind}.`);
}

/** The stages as outputs of one graph, of one row and its image. */
async function openStages(name: Blip2CheckpointName, form: GraphForm) {
  const checkpoint = openBlip2Checkpoint(checkpointFolder(name));
  const { vision, language } = checkpoint.config;
  const weights = openWeights(checkpoint.folder);
  const graph = createGraph('stages');
  const model = rootModule(graph, weights, { form });
  const { op } = model;
  const images = addInput(graph, 'images', 'uint8', ['images', vision.imageSize, vision.imageSize, 3]);
  const inputIds = addInput(graph, 'input_ids', 'int64', ['rows', 'length']);
  const paddingLength = op.constant('int64', [0]);
  const vectors = imageVectors(model, checkpoint, { images }, op.constant('int64', [0]));
  const row: Row = (embedder) => withImages(model, checkpoint.config, embedder, { inputIds, paddingLength }, vectors);
  addOutput(graph, 'vision', encodeVision(model, checkpoint, images));
  addOutput(graph, 'vectors', vectors.vectors);
  addOutput(graph, 'logits', logitsOf(name, language)(model, row));
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
