import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { copiedTensor } from '../../checkpoint/new-checkpoint/new-folder.ts';
import { writeSafetensors } from '../../checkpoint/new-checkpoint/write-safetensors.ts';
import { quantizeCheckpoint } from '../../checkpoint/quantize/quantize-checkpoint.ts';
import { productTensors } from '../../checkpoint/quantize/quantized-tensors.ts';
import { openWeights } from '../../checkpoint/weights/weights.ts';
import { calibrate } from '../../pipeline/calibration/calibrate.ts';
import { type RunningModel, startModel } from '../../pipeline/model.ts';
import { chooseForInt8 } from '../../pipeline/sessions/execution-provider.ts';
import { valuesOf } from '../support/answers.ts';
import { expectClose } from '../support/close-to.ts';
import {
  answerCheckpointNames,
  checkpointFolder,
  checkpointNames,
  clipCheckpointNames,
  imagePath,
  retrievalCheckpointNames,
} from '../support/goldens.ts';
import { testSettings } from '../support/server.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

/** The small random checkpoints made int8: every task runs, and a row answers in a batch what it answers alone. */

const folder = mkdtempSync(join(tmpdir(), 'blip-handler-test-'));
let model: RunningModel | undefined;

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function running(name: Parameters<typeof checkpointFolder>[0], isCalibrated = false): void {
  beforeAll(async () => {
    const [source, target] = [checkpointFolder(name), join(folder, `${name}-${isCalibrated}`)];
    const calibration = isCalibrated ? { calibration: await calibrate(source, pictures) } : {};
    await quantizeCheckpoint(source, target, calibration);
    model = await startModel(testSettings({ checkpoint: target, executionProvider: 'auto' }));
  });
  afterAll(() => model?.close());
}

async function ask(inputs: Readonly<Record<string, readonly unknown[]>>, output: string) {
  if (model === undefined) throw new Error('Expected a model, got none yet.');
  return valuesOf(await model.infer({ inputs, outputs: [output] }), output);
}

const images = (['chelsea', 'rocket', 'small'] as const).map((name) => readFileSync(imagePath(name)));
const pictures = dirname(imagePath('small'));
const texts = ['a', 'a picture of', 'two cats and a dog on the grass'];
/** Products of integers are exact; attention, norms and the sums over blocks are float32, in another order. */
const ALONE_TOLERANCE = { absolute: 1e-5, relative: 1e-5 };

describe.each(checkpointNames)('%s', (name) => {
  running(name);
  test.each([{}, { num_beams: [3], max_new_tokens: [8] }])('captions alone and together: %j', async (parameters) => {
    const together = await ask({ img_url: images, text: texts, ...parameters }, 'generated_output');
    for (const [index, caption] of together.entries()) {
      const own = { img_url: [images[index]], text: [texts[index]], ...parameters };
      expect(await ask(own, 'generated_output')).toEqual([caption]);
    }
    expect(new Set(together).size).toBeGreaterThan(1);
  });
});

describe.each(answerCheckpointNames)('%s', (name) => {
  running(name);
  test('answers alone and together', async () => {
    const together = await ask({ img_url: images, question: texts }, 'answer');
    for (const [index, answer] of together.entries())
      expect(await ask({ img_url: [images[index]], question: [texts[index]] }, 'answer')).toEqual([answer]);
  });

  test('ranks candidates alone and together', async () => {
    const candidates = ['yes', 'no', 'two cats'];
    const together = await ask({ img_url: images, question: texts, candidates }, 'sequence_score');
    for (const [index, score] of together.entries()) {
      const own = { img_url: [images[index]], question: [texts[index]], candidates };
      expectClose((await ask(own, 'sequence_score')).map(Number), [Number(score)], ALONE_TOLERANCE);
    }
  });
});

describe.each(retrievalCheckpointNames)('%s', (name) => {
  running(name);
  test.each(['match_probability', 'cosine_similarity'])('%s alone and together', async (output) => {
    const together = (await ask({ img_url: images, text: texts }, output)).map(Number);
    const alone = [];
    for (const image of images)
      for (const text of texts) alone.push(...(await ask({ img_url: [image], text: [text] }, output)));
    expect(together).toHaveLength(images.length * texts.length);
    expectClose(together, alone.map(Number), ALONE_TOLERANCE);
  });
});

describe.each(clipCheckpointNames)('%s', (name) => {
  running(name);
  test.each(['image_embeds', 'cosine_similarity'])('%s alone and together', async (output) => {
    const together = (await ask({ img_url: images, text: texts }, output)).map(Number);
    const alone = [];
    for (const image of images) {
      const withTexts = output === 'cosine_similarity' ? texts.map((text) => [text]) : [texts];
      for (const text of withTexts) alone.push(...(await ask({ img_url: [image], text }, output)));
    }
    expectClose(together, alone.map(Number), ALONE_TOLERANCE);
  });
});

describe('calibrated', () => {
  describe('captions', () => {
    running('narrow-vision', true);
    test('alone and together', async () => {
      const together = await ask({ img_url: images, text: texts }, 'generated_output');
      for (const [index, caption] of together.entries())
        expect(await ask({ img_url: [images[index]], text: [texts[index]] }, 'generated_output')).toEqual([caption]);
    });
  });

  describe.each(clipCheckpointNames)('%s', (name) => {
    running(name, true);
    test('embeds images alone and together', async () => {
      const together = (await ask({ img_url: images }, 'image_embeds')).map(Number);
      const alone = [];
      for (const image of images) alone.push(...(await ask({ img_url: [image] }, 'image_embeds')));
      expectClose(together, alone.map(Number), ALONE_TOLERANCE);
    });
  });
});

test('a folder of the first version is served', async () => {
  const [source, first] = [checkpointFolder('narrow-vision'), temporaryFolder()];
  await writeFirstVersion(source, first);
  const running = await startModel(testSettings({ checkpoint: first }));
  const answer = await running.infer({ inputs: { img_url: [images[0]], text: ['a'] }, outputs: ['generated_output'] });
  await running.close();
  expect(valuesOf(answer, 'generated_output')[0]).toMatch(/\w/);
});

/** All matrices of layers for products, the head as floats, and no version in config.json. */
async function writeFirstVersion(source: string, target: string): Promise<void> {
  cpSync(source, target, { recursive: true });
  const config = JSON.parse(readFileSync(join(source, 'config.json'), 'utf8')) as object;
  const quantization = { quantization_config: { format: 'blip-handler-int8' } };
  writeFileSync(join(target, 'config.json'), JSON.stringify({ ...config, ...quantization }));
  const tensors = [...openWeights(source).regions].flatMap(([name, region]) =>
    /\.layers?\.\d+\..*\.weight$/.test(name) && region.shape.length === 2
      ? productTensors(name.slice(0, -'.weight'.length), region, undefined)
      : [copiedTensor(name, region)],
  );
  rmSync(join(target, 'model.safetensors'));
  await writeSafetensors(join(target, 'model.safetensors'), tensors);
}

describe('the execution provider', () => {
  test.each(['auto', 'cpu'] as const)('is the CPU with %s', (choice) => {
    expect(chooseForInt8({ executionProvider: choice, precision: 'auto' })).toEqual({
      executionProvider: 'cpu',
      precision: 'float32',
      reason: 'int8 weights run on the CPU',
    });
  });

  test.each(['cuda', 'webgpu'] as const)('is an error where %s is asked for', async (choice) => {
    const checkpoint = join(temporaryFolder(), 'int8');
    await quantizeCheckpoint(checkpointFolder('narrow-vision'), checkpoint);
    const starting = startModel(testSettings({ checkpoint, executionProvider: choice }));
    await expect(starting).rejects.toMatchObject({
      code: 'EXECUTION_PROVIDER_UNAVAILABLE',
      message: `Expected the execution provider auto or cpu for a checkpoint of int8 weights, got ${choice}.`,
    });
  });
});
