import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { copyIn16Bits } from '../../checkpoint/quantize/copy-in-16-bits.ts';
import { quantizeCheckpoint } from '../../checkpoint/quantize/quantize-checkpoint.ts';
import { openWeights } from '../../checkpoint/weights/weights.ts';
import { calibrate } from '../../pipeline/calibration/calibrate.ts';
import { type RunningModel, startModel } from '../../pipeline/model.ts';
import { valuesOf } from '../support/answers.ts';
import { expectClose } from '../support/close-to.ts';
import { imagePath } from '../support/goldens.ts';
import { testSettings } from '../support/server.ts';

/** Of probabilities and cosines. Rows of 20 random numbers are harder to round than those of a trained model: 0.060 in 8 bits. */
const LARGEST_ERROR = 0.08;

/** Small random BLIP-2 in 8 bits, in 4 and in copies of 16: each answers, and a row in a batch what it answers alone. */

const fixtures = join(import.meta.dirname, '../fixtures/checkpoints');
const images = (['chelsea', 'rocket', 'small'] as const).map((name) => readFileSync(imagePath(name)));
const questions = ['how many?', 'what is this', 'is there a dog on the grass or a cat'];
const folder = mkdtempSync(join(tmpdir(), 'blip-handler-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Make = (source: string, target: string) => Promise<unknown>;

const precisions: Readonly<Record<string, string>> = {
  '8 bits': 'int8',
  '4 bits': 'int4',
  '8 bits calibrated': 'int8',
};

const kinds: readonly (readonly [string, Make])[] = [
  ['8 bits', (source, target) => quantizeCheckpoint(source, target)],
  ['4 bits', (source, target) => quantizeCheckpoint(source, target, { languageModelBits: 4 })],
  [
    '8 bits calibrated',
    async (source, target) => {
      const calibration = await calibrate(source, dirname(imagePath('small')));
      return await quantizeCheckpoint(source, target, { calibration });
    },
  ],
  ['float16', (source, target) => copyIn16Bits(source, target, { precision: 'float16' })],
  ['bfloat16', (source, target) => copyIn16Bits(source, target, { precision: 'bfloat16' })],
];
const served = ['blip2-opt', 'blip2-t5', 'instructblip-t5', 'instructblip-vicuna'] as const;

describe.each(served.flatMap((name) => kinds.map((kind) => [name, ...kind] as const)))(
  '%s in %s',
  (name, kind, make) => {
    let model: RunningModel | undefined;
    beforeAll(async () => {
      const target = join(folder, `${name} ${kind}`);
      await make(join(fixtures, name), target);
      model = await startModel(testSettings({ checkpoint: target }));
    });
    afterAll(() => model?.close());

    async function ask(inputs: Readonly<Record<string, readonly unknown[]>>, output: string) {
      if (model === undefined) throw new Error('Expected a model, got none yet.');
      const answer = await model.infer({ inputs: { max_new_tokens: [6], ...inputs }, outputs: [output] });
      expect(answer.precision).toBe(precisions[kind] ?? 'float32');
      return valuesOf(answer, output);
    }

    test.each([{}, { num_beams: [3] }])('captions alone and together: %j', async (parameters) => {
      const together = await ask({ img_url: images, ...parameters }, 'generated_output');
      for (const [index, caption] of together.entries())
        expect(await ask({ img_url: [images[index]], ...parameters }, 'generated_output')).toEqual([caption]);
      expect(together).toHaveLength(images.length);
    });

    test('answers alone and together', async () => {
      const together = await ask({ img_url: images, question: questions }, 'answer');
      for (const [index, answer] of together.entries())
        expect(await ask({ img_url: [images[index]], question: [questions[index]] }, 'answer')).toEqual([answer]);
      expect(together.some((answer) => String(answer).length > 0)).toBe(true);
    });
  },
);

describe.each(readdirSync(fixtures).filter((name) => /^(?:instruct)?blip2?-(?:opt|t5|vicuna)/.test(name)))(
  '%s',
  (name) => {
    test('has 4 bits in all layers of its language model, and int8 in those of its towers', async () => {
      const [source, target] = [join(fixtures, name), join(folder, `${name} by tensor`)];
      const made = await quantizeCheckpoint(source, target, { languageModelBits: 4 });
      const [before, after] = [[...openWeights(source).regions], openWeights(target).regions];
      const layers = before.filter(
        ([tensor, { shape }]) => /\.(?:layers?|block)\.\d+\./.test(tensor) && shape.length === 2,
      );
      let halfBytes = 0;
      for (const [tensor] of layers) {
        if (tensor.endsWith('relative_attention_bias.weight')) continue;
        const module = tensor.slice(0, -'.weight'.length);
        const expected = tensor.startsWith('language_model.') ? 'weight_blocks_4_bits' : 'weight_quantized';
        halfBytes += expected === 'weight_blocks_4_bits' ? 1 : 0;
        expect([after.has(`${module}.${expected}`), after.has(tensor)], tensor).toEqual([true, false]);
      }
      expect(after.has('language_model.lm_head.weight_blocks')).toBe(true);
      expect(made).toMatchObject({ halfByteMatrixCount: halfBytes, matrixCount: expect.any(Number) });
      expect(made.weightsBytes).toBeLessThan(made.sourceBytes);
      const files = (folder: string) =>
        readdirSync(folder, { recursive: true }).filter((file) => !/safetensors/.test(`${file}`));
      expect(files(target).toSorted()).toEqual(files(source).toSorted());
    });
  },
);

describe.each(kinds.filter(([kind]) => kind !== '4 bits'))('blip2-itm in %s', (kind, make) => {
  const outputs = ['match_probability', 'cosine_similarity'];
  const texts = ['a cat', 'two small dogs running on the beach', 'x'];
  let model: RunningModel | undefined;
  beforeAll(async () => {
    const target = join(folder, `blip2-itm ${kind}`);
    await make(join(fixtures, 'blip2-itm'), target);
    model = await startModel(testSettings({ checkpoint: target }));
  });
  afterAll(() => model?.close());

  async function compare(running: RunningModel | undefined, pictures: readonly Uint8Array[], text: readonly string[]) {
    if (running === undefined) throw new Error('Expected a model, got none yet.');
    const answer = await running.infer({ inputs: { img_url: pictures, text }, outputs });
    return outputs.map((output) => valuesOf(answer, output).map(Number));
  }

  test('compares each pair alone as together, and nearly as in float32', async () => {
    const together = await compare(model, images, texts);
    for (const [row, image] of images.entries())
      for (const [column, text] of texts.entries()) {
        const alone = await compare(model, [image], [text]);
        const place = row * texts.length + column;
        expectClose(
          alone.flat(),
          together.map((values) => values[place] ?? Number.NaN),
          { absolute: 1e-5 },
        );
      }
    const floats = await startModel(testSettings({ checkpoint: join(fixtures, 'blip2-itm') }));
    const wanted = await compare(floats, images, texts);
    await floats.close();
    for (const [index, values] of together.entries())
      expectClose(values, wanted[index] ?? [], { absolute: LARGEST_ERROR });
    expect(together).not.toEqual(wanted);
  });
});
