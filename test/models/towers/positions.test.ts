import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Checkpoint, openCheckpoint } from '../../../checkpoint/checkpoint.ts';
import { openWeights, type Weights } from '../../../checkpoint/weights/weights.ts';
import { clipImageGraph } from '../../../models/heads/clip.ts';
import { child, rootModule } from '../../../models/module.ts';
import { pixelValues } from '../../../models/towers/image-processor.ts';
import { visionTransformer } from '../../../models/towers/vision-transformer.ts';
import { addInput, addOutput, createGraph, type Graph } from '../../../onnx/graph.ts';
import { type RunningModel, startModel } from '../../../pipeline/model.ts';
import { createSession } from '../../../pipeline/sessions/runtime.ts';
import { readSettings } from '../../../pipeline/settings.ts';
import type { NamedTensor } from '../../../protocol/named-tensor.ts';
import { expectClose } from '../../support/close-to.ts';
import {
  answerCheckpointNames,
  checkpointFolder,
  checkpointNames,
  clipCheckpointNames,
  retrievalCheckpointNames,
} from '../../support/goldens.ts';
import { openGoldenPositions, otherSizes, readGoldenPresets } from '../../support/preset-goldens.ts';
import { dataUri } from '../../support/server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

/** Images of another size than the checkpoint's: transformers' `interpolate_pos_encoding=True`. */

/** From the same resized pixels. */
const EMBEDS_TOLERANCE = { absolute: 1e-4, relative: 1e-4 };
/** From image files: one grey level of the resize moves what follows. */
const GREY_LEVEL_TOLERANCE = { absolute: 2e-2, relative: 1e-2 };
const LOGPROB_TOLERANCE = { absolute: 5e-3 };

const goldens = openGoldenPositions();

/** The image embeddings, from resized pixels. */
function embedsGraph(checkpoint: Checkpoint, weights: Weights): Graph {
  if (checkpoint.task === 'clip') return clipImageGraph(checkpoint, weights);
  const { vision } = checkpoint.config;
  const graph = createGraph('image-embeds');
  const images = addInput(graph, 'images', 'uint8', ['images', vision.imageSize, vision.imageSize, 3]);
  const model = rootModule(graph, weights);
  const pixels = pixelValues(model, images, checkpoint.imageProcessor);
  addOutput(graph, 'image_embeds', visionTransformer(child(model, 'vision_model'), vision, pixels));
  return graph;
}

const cases = Object.entries(otherSizes).flatMap(([name, sizes]) =>
  sizes.flatMap((size) =>
    (['chelsea', 'rocket'] as const).map((image) => [name as keyof typeof otherSizes, size, image] as const),
  ),
);

describe('image embeddings at another size are those of transformers', () => {
  test.each(cases)('%s at %d: %s', async (name, size, image) => {
    const checkpoint = openCheckpoint(checkpointFolder(name), size);
    const weights = openWeights(checkpoint.folder);
    const session = await createSession(embedsGraph(checkpoint, weights), {
      executionProvider: 'cpu',
      threadCount: 1,
      dataFolder: weights.dataFolder,
    });
    const resized = goldens.bytes(`${name}.${size}.${image}.resized`);
    const outputs = await session.run({ images: { data: resized.data, shape: [1, ...resized.shape] } });
    await session.release();
    const embeds = outputs['image_embeds']?.data;
    // The tensor is FP32.
    expectClose(embeds as Float32Array, goldens.floats(`${name}.${size}.${image}.image_embeds`).data, EMBEDS_TOLERANCE);
  });

  test('the sizes are smaller and larger than the checkpoints’', () => {
    const compared = Object.entries(otherSizes).flatMap(([name, sizes]) => {
      const { imageSize } = openCheckpoint(checkpointFolder(name as keyof typeof otherSizes)).config.vision;
      return sizes.map((size) => Math.sign(size - imageSize));
    });
    expect(compared).toEqual([-1, 1, 1, 1, -1, 1, 1]);
  });
});

describe('a checkpoint opened at another size', () => {
  const everyName = [...checkpointNames, ...answerCheckpointNames, ...retrievalCheckpointNames, ...clipCheckpointNames];

  test.each(everyName)('has that size everywhere, and keeps where its positions came from: %s', (name) => {
    const folder = checkpointFolder(name);
    const stored = openCheckpoint(folder);
    const { patchSize, imageSize: ownSize } = stored.config.vision;
    const size = ownSize + patchSize;
    const { config, imageProcessor } = openCheckpoint(folder, size);
    expect(config.vision).toEqual({ ...stored.config.vision, imageSize: size, positionsImageSize: ownSize });
    const crop = stored.task === 'clip' ? { kind: 'crop', shortestEdge: size } : { kind: 'squash' };
    expect(imageProcessor).toEqual({ ...stored.imageProcessor, resize: { ...crop, side: size } });
  });

  test.each(everyName)('is as it lies at its own size: %s', (name) => {
    const stored = openCheckpoint(checkpointFolder(name));
    const again = openCheckpoint(checkpointFolder(name), stored.config.vision.imageSize);
    expect(again.config).toEqual(stored.config);
  });

  test.each([
    ['narrow-vision', 8, 30],
    ['narrow-vision', 8, 4],
    ['narrow-vision', 8, 33],
    ['sharded-float16', 16, 72],
    ['answers-float32', 8, 20],
    ['retrieval-bfloat16', 16, 40],
    ['clip-real-end', 16, 56],
  ] as const)('%s with patches of %d refuses %d, which is no multiple', (name, patchSize, size) => {
    const folder = checkpointFolder(name);
    expectCheckpointError(() => openCheckpoint(folder, size), 'CHECKPOINT_CONFIG_INVALID', [
      folder,
      'BLIP_IMAGE_SIZE',
      `patch_size ${patchSize}`,
      `got ${size}`,
    ]);
  });

  test('that does not resize takes images of that size alone', () => {
    const folder = temporaryFolder();
    cpSync(checkpointFolder('narrow-vision'), folder, { recursive: true });
    writeFileSync(join(folder, 'preprocessor_config.json'), JSON.stringify({ do_resize: false }));
    const { imageProcessor, config } = openCheckpoint(folder, 48);
    expect([imageProcessor.resize, config.vision.imageSize]).toEqual([undefined, 48]);
  });
});

function start(name: Parameters<typeof checkpointFolder>[0], imageSize?: number): Promise<RunningModel> {
  const environment = {
    BLIP_CHECKPOINT: checkpointFolder(name),
    BLIP_EXECUTION_PROVIDER: 'cpu',
    ...(imageSize === undefined ? {} : { BLIP_IMAGE_SIZE: String(imageSize) }),
  };
  return startModel(readSettings({ environment, shippedCheckpoint: '' }));
}

function numbersOf(outputs: readonly NamedTensor[], name: string): readonly number[] {
  return (outputs.find((tensor) => tensor.name === name)?.data ?? []).map(Number);
}

describe('BLIP_IMAGE_SIZE, from image files', () => {
  const byPlace = (checkpoint: string, size: number) =>
    readGoldenPresets().resized_captions.filter((row) => row.checkpoint === checkpoint && row.size === size);

  test.each([
    ['narrow-vision', 24],
    ['narrow-vision', 40],
    ['narrow-vision', 64],
    ['sharded-float16', 96],
  ] as const)('captions of %s at %d are those of transformers', async (name, size) => {
    const rows = byPlace(name, size);
    const model = await start(name, size);
    const inputs = { img_url: rows.map(({ image }) => dataUri(image)) };
    const { outputs } = await model.infer({ inputs, outputs: ['token_ids', 'token_logprobs'] });
    await model.close();
    const length = outputs[0]?.shape[1] ?? 0;
    const expected = rows.map(({ sequences }) => sequences[0]);
    const padded = (values: readonly number[] = []) => [
      ...values,
      ...Array.from({ length: length - values.length }, () => 0),
    ];
    expect(expected).toHaveLength(2);
    expect(numbersOf(outputs, 'token_ids')).toEqual(expected.flatMap((golden) => padded(golden?.token_ids)));
    const logprobs = expected.flatMap((golden) => padded([0, ...(golden?.token_logprobs ?? [])]));
    expectClose(numbersOf(outputs, 'token_logprobs'), logprobs, LOGPROB_TOLERANCE);
  });

  test.each([
    ['clip-placeholder-end', 24],
    ['clip-placeholder-end', 56],
    ['clip-real-end', 80],
  ] as const)('embeddings of %s at %d are those of transformers', async (name, size) => {
    const model = await start(name, size);
    const inputs = { img_url: [dataUri('chelsea'), dataUri('rocket')], text: ['a cat'] };
    const { outputs } = await model.infer({ inputs, outputs: ['image_embeds', 'text_embeds'] });
    await model.close();
    const expected = ['chelsea', 'rocket'].flatMap((image) =>
      Array.from(goldens.floats(`${name}.${size}.${image}.image_embeds`).data),
    );
    expectClose(numbersOf(outputs, 'image_embeds'), expected, GREY_LEVEL_TOLERANCE);
    const usual = await start(name);
    const usualAnswer = await usual.infer({ inputs, outputs: ['image_embeds', 'text_embeds'] });
    await usual.close();
    expect(numbersOf(usualAnswer.outputs, 'image_embeds')).not.toEqual(numbersOf(outputs, 'image_embeds'));
    expect(numbersOf(usualAnswer.outputs, 'text_embeds')).toEqual(numbersOf(outputs, 'text_embeds'));
  });

  test.each([
    ['answers-float32', 40, { question: ['red'], candidates: ['a', 'b'], num_return_sequences: [2] }, 'sequence_score'],
    ['retrieval-wide-vision', 48, { text: ['a cat'] }, 'match_probability'],
  ] as const)('%s answers at %d, otherwise than at its own', async (name, size, requested, output) => {
    const answers = [];
    for (const imageSize of [size, undefined]) {
      const model = await start(name, imageSize);
      answers.push(
        numbersOf(
          (await model.infer({ inputs: { img_url: [dataUri('rocket')], ...requested }, outputs: [output] })).outputs,
          output,
        ),
      );
      await model.close();
    }
    expect(answers[0]).toHaveLength(answers[1]?.length ?? Number.NaN);
    expect(answers[0]).not.toEqual(answers[1]);
  });

  test('the checkpoint’s own size changes nothing', async () => {
    const answers = [];
    for (const imageSize of [32, undefined]) {
      const model = await start('narrow-vision', imageSize);
      answers.push(
        (await model.infer({ inputs: { img_url: [dataUri('rocket')] }, outputs: ['token_ids', 'token_logprobs'] }))
          .outputs,
      );
      await model.close();
    }
    expect(answers[0]).toEqual(answers[1]);
  });

  test('no multiple of the patch size is refused when the model starts', async () => {
    await expect(start('narrow-vision', 30)).rejects.toMatchObject({
      code: 'CHECKPOINT_CONFIG_INVALID',
      message: expect.stringMatching(/BLIP_IMAGE_SIZE.*patch_size 8, got 30/),
    });
  });
});
