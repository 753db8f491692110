import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Resize } from '../../../checkpoint/config/image-processor-config.ts';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { clipImageGraph, clipRankGraph, clipTextGraph } from '../../../models/heads/clip.ts';
import type { GraphForm } from '../../../models/module.ts';
import { pixelValues } from '../../../models/towers/image-processor.ts';
import { addInput, addOutput, createGraph } from '../../../onnx/graph.ts';
import { createScope } from '../../../onnx/scope.ts';
import { decodeImage } from '../../../pipeline/images/image-decode.ts';
import type { RgbImage } from '../../../pipeline/images/rgb-image.ts';
import { createImageResizer } from '../../../pipeline/sessions/image-resizer.ts';
import { createSession, type RuntimeTensor, type Session } from '../../../pipeline/sessions/runtime.ts';
import { openTokenizer } from '../../../pipeline/texts/tokenizer.ts';
import { expectClose } from '../../support/close-to.ts';
import { inEachForm } from '../../support/forms.ts';
import { float32s, int64s, paddedTexts } from '../../support/generation-session.ts';
import {
  type Box,
  imagePath,
  type OpenClipName,
  openClipCheckpoint,
  openClipNames,
  openGoldenTensors,
} from '../../support/goldens.ts';
import { openClipFolder, readOpenClipGoldens } from '../../support/open-clip.ts';

/** The goldens are open_clip's own, from the same files. */

const TOLERANCE = { absolute: 1e-4 };
const PIXEL_TOLERANCE = { absolute: 1e-5 };
/** Pillow rounds after each pass in fixed point; onnxruntime may be one grey level off, rarely. */
const MAX_DIFFERENCE = 1;
/** Four of the 3072 values of 32 x 32 pixels. */
const MAX_SHARE = 0.0014;
/** Bilinear enlargements have many values that lie in the middle between two grey levels. */
const MAX_SHARE_BILINEAR = 0.03;

const { checkpoints } = readOpenClipGoldens();
const decodeOptions = { maxPixels: 50_000_000, maxSide: 16_384, applyExif: true };

async function openClip(name: OpenClipName, form: GraphForm) {
  const checkpoint = openClipCheckpoint(openClipFolder(name));
  const weights = openWeights(checkpoint.folder);
  const options = { executionProvider: 'cpu', threadCount: 2, dataFolder: weights.dataFolder } as const;
  const open = (graph: typeof clipImageGraph) => createSession(graph(checkpoint, weights, { form }), options);
  const sessions = {
    image: await open(clipImageGraph),
    text: await open(clipTextGraph),
    rank: await open(clipRankGraph),
  };
  return {
    ...sessions,
    side: checkpoint.config.vision.imageSize,
    length: checkpoint.config.projectionSize,
    async release() {
      for (const session of Object.values(sessions)) await session.release();
    },
  };
}

async function run(session: Session, inputs: Record<string, RuntimeTensor>) {
  const outputs = await session.run(inputs);
  return (tensor: string) => Array.from(outputs[tensor]?.data ?? [], Number);
}

describe.each(inEachForm(openClipNames))('%s in the %s form computes what open_clip computes', (name, form) => {
  const goldens = openGoldenTensors(`open-clip-${name}`);
  const { images, texts } = checkpoints[name];
  const tokenizer = openTokenizer(openClipFolder(name));
  let clip: Awaited<ReturnType<typeof openClip>>;
  beforeAll(async () => {
    clip = await openClip(name, form);
  });
  afterAll(() => clip?.release());

  test('from its own pixels', async () => {
    const data = Buffer.concat(images.map((image) => goldens.bytes(`${name}.${image}`).data));
    const shape = [images.length, clip.side, clip.side, 3];
    const output = await run(clip.image, { images: { data: new Uint8Array(data), shape } });
    for (const tensor of ['image_embeds', 'normalized_image_embeds'])
      expectClose(output(tensor), goldens.floats(tensor).data, TOLERANCE);
  });

  test('from texts, whose tokens are open_clip’s', async () => {
    const rows = texts.map(({ text }) => tokenizer.encode(text));
    expect(rows).toEqual(texts.map(({ input_ids: ids }) => ids));
    const ends = rows.map((ids) => ids.indexOf(Math.max(...ids)));
    const output = await run(clip.text, { input_ids: paddedTexts(rows).ids, end_position: int64s(ends) });
    for (const tensor of ['text_embeds', 'normalized_text_embeds'])
      expectClose(output(tensor), goldens.floats(tensor).data, TOLERANCE);
  });

  test('the logits, as probabilities', async () => {
    const rows = (tensor: string) => {
      const { data } = goldens.floats(tensor);
      return float32s([...data], [data.length / clip.length, clip.length]);
    };
    const inputs = { queries: rows('normalized_image_embeds'), candidates: rows('normalized_text_embeds') };
    const output = await run(clip.rank, inputs);
    expectClose(output('probability'), goldens.floats('probability').data, TOLERANCE);
    // 2.5 is the logarithm of the scale.
    const logits = output('cosine_similarity').map((cosine) => cosine * Math.exp(2.5));
    expectClose(logits, goldens.floats('logits').data, TOLERANCE);
  });
});

function cut(image: RgbImage, [left, top, right, bottom]: Box): RgbImage {
  const rows = Array.from({ length: bottom - top }, (_, row) => (top + row) * image.width);
  const parts = rows.map((start) => image.data.subarray((start + left) * 3, (start + right) * 3));
  return { width: right - left, height: bottom - top, data: new Uint8Array(Buffer.concat(parts)) };
}

const processorOf = (name: OpenClipName) => openClipCheckpoint(openClipFolder(name)).imageProcessor;
const crop = { kind: 'crop', shortestEdge: 32, side: 32, roundsMiddle: true } as const;

describe.each<readonly [way: string, name: OpenClipName, resize: Resize | undefined]>([
  ['quick-gelu', 'quick-gelu', processorOf('quick-gelu').resize],
  ['odd-sizes', 'odd-sizes', processorOf('odd-sizes').resize],
  ['shortest-bilinear', 'quick-gelu', { ...crop, interpolation: 'bilinear' }],
  ['squash-bicubic', 'quick-gelu', { kind: 'squash', side: 32 }],
])('pictures are brought to size as open_clip does: %s', (way, name, resize) => {
  const goldens = openGoldenTensors(`open-clip-${name}`);

  test.each(Object.entries(checkpoints[name].parts))('%s', async (part, { file, box }) => {
    const picture = await decodeImage(readFileSync(imagePath(file)), decodeOptions);
    const resizer = await createImageResizer({ ...processorOf(name), resize }, resize?.side ?? 0, 1);
    const resized = await resizer.resizeAll([box === null ? picture : cut(picture, box)]);
    await resizer.release();
    const golden = goldens.bytes(`${way}.${part}`);
    expect(resized.shape).toEqual([1, ...golden.shape]);
    const differences = Array.from(golden.data, (value, index) => Math.abs(value - Number(resized.data[index])));
    expect(Math.max(...differences)).toBeLessThanOrEqual(MAX_DIFFERENCE);
    const share = differences.filter((difference) => difference > 0).length / differences.length;
    expect(share).toBeLessThanOrEqual(resize?.interpolation === 'bilinear' ? MAX_SHARE_BILINEAR : MAX_SHARE);
  });
});

test.each(openClipNames)('%s: numbers of pixels are open_clip’s', async (name) => {
  const goldens = openGoldenTensors(`open-clip-${name}`);
  const { data, shape } = goldens.bytes(`${name}.small`);
  const graph = createGraph('pixels');
  const images = addInput(graph, 'images', 'uint8', ['images', ...shape]);
  addOutput(graph, 'pixels', pixelValues(createScope(graph), images, processorOf(name)));
  const session = await createSession(graph, { executionProvider: 'cpu', threadCount: 1 });
  const output = await run(session, { images: { data, shape: [1, ...shape] } });
  await session.release();
  expectClose(output('pixels'), goldens.floats('pixels').data, PIXEL_TOLERANCE);
});
