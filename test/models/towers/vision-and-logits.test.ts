import { describe, test } from 'vitest';
import { imageTokenCount } from '../../../checkpoint/config/vision-config.ts';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { crossAttentionStates } from '../../../models/language-models/bert.ts';
import { emptyCache } from '../../../models/language-models/self-attention.ts';
import { embedText, textDecoder } from '../../../models/language-models/text-decoder.ts';
import { child, rootModule } from '../../../models/module.ts';
import { rowsByImage } from '../../../models/rows-by-image.ts';
import { pixelValues } from '../../../models/towers/image-processor.ts';
import { visionTransformer } from '../../../models/towers/vision-transformer.ts';
import { addInput, addOutput, createGraph } from '../../../onnx/graph.ts';
import { createSession } from '../../../pipeline/sessions/runtime.ts';
import { expectClose } from '../../support/close-to.ts';
import {
  type CheckpointName,
  checkpointFolder,
  checkpointNames,
  imageNames,
  openBlipCheckpoint,
  openGoldenTensors,
} from '../../support/goldens.ts';

/** Tokens that the golden logits follow, after [DEC]: make_goldens.py. */
const PROMPT = [5, 17, 33, 8];

/** The stages of the captioning graph with their values as outputs. */
async function stages(name: CheckpointName) {
  const checkpoint = openBlipCheckpoint(checkpointFolder(name));
  const weights = openWeights(checkpoint.folder);
  const { vision, text } = checkpoint.config;
  const graph = createGraph('stages');
  const images = addInput(graph, 'images', 'uint8', ['images', vision.imageSize, vision.imageSize, 3]);
  const inputIds = addInput(graph, 'input_ids', 'int64', ['rows', 'length']);
  const model = rootModule(graph, weights);
  const pixels = pixelValues(model, images, checkpoint.imageProcessor);
  const embeds = visionTransformer(child(model, 'vision_model'), vision, pixels);
  const decoder = child(model, 'text_decoder');
  const one = model.op.constant('int64', [1]);
  const rows = rowsByImage(model, model.op.constant('int64', [0]), one, text.hiddenSize);
  const { logits } = textDecoder(decoder, text, {
    embeddings: embedText(decoder, text, inputIds),
    paddingLength: model.op.constant('int64', [0]),
    past: emptyCache(model, model, text, one),
    cross: crossAttentionStates(child(decoder, 'bert'), text, embeds, {
      width: text.encoderHiddenSize,
      length: imageTokenCount(vision),
    }),
    rowsByImage: rows,
  });
  addOutput(graph, 'pixel_values', pixels);
  addOutput(graph, 'image_embeds', embeds);
  addOutput(graph, 'logits', logits);
  const session = await createSession(graph, {
    executionProvider: 'cpu',
    threadCount: 2,
    dataFolder: weights.dataFolder,
  });
  return { session, bosTokenId: text.bosTokenId };
}

describe.each(checkpointNames)('%s computes what transformers computes', (name) => {
  test.each(imageNames)('from the resized pixels of %s', async (image) => {
    const { session, bosTokenId } = await stages(name);
    const goldens = openGoldenTensors(name);
    const resized = goldens.bytes(`${image}.resized`);
    const ids = BigInt64Array.from([bosTokenId, ...PROMPT], BigInt);
    const outputs = await session.run({
      images: { data: resized.data, shape: [1, ...resized.shape] },
      input_ids: { data: ids, shape: [1, ids.length] },
    });
    const output = (tensor: string) => outputs[tensor]?.data as Float32Array;
    expectClose(output('pixel_values'), goldens.floats(`${image}.pixel_values`).data, { absolute: 1e-6 });
    expectClose(output('image_embeds'), goldens.floats(`${image}.image_embeds`).data, {
      absolute: 1e-5,
      relative: 1e-4,
    });
    expectClose(output('logits'), goldens.floats(`${image}.logits`).data, { absolute: 1e-4 });
    await session.release();
  });
});
