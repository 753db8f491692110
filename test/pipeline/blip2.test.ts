import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { TensorAnswer } from '../../pipeline/infer-request.ts';
import { type RunningModel, startModel } from '../../pipeline/model.ts';
import { valuesOf } from '../support/answers.ts';
import { expectClose } from '../support/close-to.ts';
import {
  checkpointFolder,
  type GoldenSequence,
  type ImageName,
  type ImageTextCheckpointName,
  imageNames,
  imageTextCheckpointNames,
  openBlip2Checkpoint,
  openGoldenTensors,
  readGoldenJson,
} from '../support/goldens.ts';
import { testSettings } from '../support/server.ts';

/** BLIP-2 and InstructBLIP answer as transformers does: each row alone, and all rows of one request (make_blip2_goldens.py). */

interface Golden {
  readonly parameters: Readonly<Record<string, number | boolean>>;
  readonly image: ImageName;
  readonly prompt: string | null;
  readonly prompt_length: number;
  readonly sequences: readonly GoldenSequence[];
  readonly text: string;
  readonly answer: string;
}

/** The picture in the model's size, or in another one, so that no other resize than Pillow's is in the answers. */
async function pictureOf(name: ImageTextCheckpointName, image: ImageName, side?: number): Promise<Uint8Array> {
  const { data, shape } = openGoldenTensors(name).bytes(`${image}.resized${side === undefined ? '' : `.${side}`}`);
  const [height = 0, width = 0] = shape;
  return await sharp(data, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer();
}

const outputs = ['token_ids', 'token_logprobs', 'sequence_score'] as const;
/** Pixels and weights are equal, so that only the order of float32 sums differs. Random weights make scores steep. */
const TOLERANCE = { absolute: 1e-3, relative: 1e-4 };

/** Golden rows by their parameters. */
function casesOf(name: string): readonly (readonly [title: string, rows: readonly Golden[]])[] {
  const goldens: readonly Golden[] = readGoldenJson(`${name}.json`);
  const titles = [...new Set(goldens.map(({ parameters }) => JSON.stringify(parameters)))];
  return titles.map((title) => [title, goldens.filter(({ parameters }) => JSON.stringify(parameters) === title)]);
}

/** Checkpoints are for images of 28 or of 42 pixels. Of another size, positions are interpolated. */
function otherSizeOf(name: ImageTextCheckpointName): number {
  const { vision } = openBlip2Checkpoint(checkpointFolder(name)).config;
  return vision.imageSize === 28 ? 56 : 28;
}

function expectSequences(answer: TensorAnswer, golden: readonly Golden[]): void {
  const sequences = golden.flatMap((row) =>
    row.sequences.map((sequence) => ({ ...sequence, start: row.prompt_length })),
  );
  const ids = valuesOf(answer, 'token_ids').map(Number);
  const logprobs = valuesOf(answer, 'token_logprobs').map(Number);
  const length = ids.length / sequences.length;
  for (const [index, { token_ids: wanted, token_logprobs: wantedLogprobs, start }] of sequences.entries()) {
    const from = index * length;
    expect(ids.slice(from, from + wanted.length)).toEqual(wanted);
    expectClose(logprobs.slice(from + start, from + wanted.length), wantedLogprobs, TOLERANCE);
  }
  const scores = sequences.flatMap(({ score }) => score ?? []);
  if (scores.length > 0) expectClose(valuesOf(answer, 'sequence_score').map(Number), scores, TOLERANCE);
}

describe.each(imageTextCheckpointNames)('%s', (name) => {
  let model: RunningModel | undefined;
  const pictures: Partial<Record<ImageName, Uint8Array>> = {};
  beforeAll(async () => {
    for (const image of imageNames) pictures[image] = await pictureOf(name, image);
    model = await startModel(testSettings({ checkpoint: checkpointFolder(name) }));
  });
  afterAll(() => model?.close());
  const infer = (inputs: Readonly<Record<string, unknown>>, wanted: readonly string[]) => {
    if (model === undefined) throw new Error('Expected a model that has started.');
    return model.infer({ inputs, outputs: wanted });
  };

  test.each(casesOf(name))('each row alone: %s', async (_, rows) => {
    for (const row of rows) {
      const inputs = { img_url: [pictures[row.image]], text: [row.prompt ?? ''], ...row.parameters };
      const answer = await infer(inputs, [...outputs, 'generated_output']);
      expectSequences(answer, [row]);
      expect(valuesOf(answer, 'generated_output')[0]).toBe(row.text);
    }
  });

  test.each(casesOf(name))('all rows in one request: %s', async (_, rows) => {
    const inputs = { img_url: rows.map(({ image }) => pictures[image]), text: rows.map(({ prompt }) => prompt ?? '') };
    expectSequences(await infer({ ...inputs, ...rows[0]?.parameters }, outputs), rows);
  });

  test('several prompts about one image', async () => {
    const [, rows = []] = casesOf(name)[0] ?? [];
    const [first, second] = rows;
    if (first === undefined || second === undefined) throw new Error('Expected two rows, got fewer.');
    expect(second.image).toBe(first.image);
    const inputs = { img_url: [pictures[first.image]], text: [first, second].map(({ prompt }) => prompt ?? '') };
    expectSequences(await infer(inputs, outputs), [first, second]);
  });

  test('images of another size', async () => {
    const imageSize = otherSizeOf(name);
    const rows: readonly Golden[] = readGoldenJson(`${name}-${imageSize}-pixels.json`);
    expect(rows.length).toBeGreaterThan(2);
    const resized = await startModel(testSettings({ checkpoint: checkpointFolder(name), imageSize }));
    onTestFinished(() => resized.close());
    const images = await Promise.all(rows.map(({ image }) => pictureOf(name, image, imageSize)));
    const inputs = { img_url: images, text: rows.map(({ prompt }) => prompt ?? '') };
    expectSequences(await resized.infer({ inputs, outputs }), rows);
  });

  test('a question has the continuation as its answer', async () => {
    const [, rows = []] = casesOf(name)[0] ?? [];
    for (const row of rows) {
      const inputs = { img_url: [pictures[row.image]], question: [row.prompt ?? ''], preset: 'hf', ...row.parameters };
      const answer = await infer(inputs, ['answer']);
      expect(valuesOf(answer, 'answer')).toEqual([row.answer]);
    }
  });
});
