import { readFileSync } from 'node:fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type RunningModel, startModel } from '../../pipeline/model.ts';
import type { Settings } from '../../pipeline/settings.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { fixtures, imagePath } from '../support/goldens.ts';
import { testSettings } from '../support/server.ts';
import { expectHandlerError } from '../support/thrown.ts';

/** Requests for much work, to models that run. */

const photo = readFileSync(imagePath('small')).toString('base64');
const SHIPPED = new URL('../../checkpoints/', import.meta.url).pathname;

async function start(
  checkpoint: string,
  changed: Partial<Settings> = {},
): Promise<{ model: RunningModel; batches: number[] }> {
  const batches: number[] = [];
  const model = await startModel(
    { ...testSettings(), checkpoint, ...changed },
    { batchDone: (itemCount) => void batches.push(itemCount) },
  );
  onTestFinished(() => model.close());
  return { model, batches };
}

const prompts = (count: number) => Array.from({ length: count }, (_, index) => `a ${index}`);
const manyBeams = { num_beams: [32], max_new_tokens: [40], min_new_tokens: [40] };
const late = new HandlerError('DEADLINE_EXCEEDED', 'Expected the answer within a moment.');

describe('a request whose time is over', () => {
  test.each([
    ['captions', 'scenes-captioning', { text: prompts(256), ...manyBeams }],
    ['answers', 'scenes-question-answering', { question: prompts(256), ...manyBeams }],
    ['ranked candidates', 'scenes-question-answering', { question: prompts(200), candidates: prompts(256) }],
    ['pairs', 'scenes-retrieval', { text: prompts(250).map((text) => `${text} ${'cat '.repeat(55)}`) }],
  ])('is not computed any further: %s', { timeout: 120_000 }, async (_, checkpoint, inputs) => {
    const { model, batches } = await start(`${SHIPPED}${checkpoint}`);
    await model.infer({
      inputs: { ...inputs, ...('text' in inputs ? { text: ['a'] } : { question: ['a'] }), img_url: [photo] },
    });
    const controller = new AbortController();
    const request = { inputs: { img_url: [photo], ...inputs }, signal: controller.signal };
    const answer = model.infer({
      ...request,
      events: { computing: () => void setTimeout(() => controller.abort(late), 100) },
    });
    await expect(answer).rejects.toBe(late);
    const startMs = performance.now();
    await expect.poll(() => model.queuedItems(), { timeout: 60_000, interval: 20 }).toBe(0);
    expect(performance.now() - startMs).toBeLessThan(20_000); // One run, on a machine that is busy. All took minutes.
    expect(batches).toHaveLength(1); // Of the request before it: this one was not finished.
  });
});

describe('work of several clients', () => {
  test('of which one has much: the other is answered first, and both as alone', { timeout: 180_000 }, async () => {
    const { model } = await start(`${SHIPPED}scenes-captioning`);
    const small = { img_url: [photo] };
    const large = { img_url: [photo], text: prompts(120), num_beams: [8], max_new_tokens: [40], min_new_tokens: [40] };
    const [smallAlone, largeAlone] = [await model.infer({ inputs: small }), await model.infer({ inputs: large })];
    const answered: string[] = [];
    let beginSmall: () => void = () => undefined;
    const begun = new Promise<void>((resolve) => {
      beginSmall = resolve;
    });
    const ofLarge = model.infer({ inputs: large, client: 'large', events: { computing: beginSmall } });
    void ofLarge.then(() => answered.push('large'));
    await begun;
    const ofSmall = model.infer({ inputs: small, client: 'small' });
    void ofSmall.then(() => answered.push('small'));
    expect((await ofSmall).outputs).toEqual(smallAlone.outputs);
    expect((await ofLarge).outputs).toEqual(largeAlone.outputs);
    expect(answered).toEqual(['small', 'large']);
  });

  test('of which one has filled the queue: the other has its share', async () => {
    const { model } = await start(`${fixtures}checkpoints/narrow-vision`, { maxQueueSize: 8 });
    const flood = model.infer({ inputs: { img_url: [photo], text: prompts(8) }, client: 'flood' });
    expect(() => model.requireRoom('flood')).toThrow(expect.objectContaining({ code: 'OVERLOADED' }));
    expect(() => model.requireRoom('other')).not.toThrow();
    const answer = await model.infer({ inputs: { img_url: [photo], text: prompts(4) }, client: 'other' });
    expect(answer.outputs[0]?.data).toHaveLength(4);
    await flood;
  });
});

describe('more work than is allowed', () => {
  const limits = {
    maxBeams: 4,
    maxNewTokens: 10,
    maxItemsPerRequest: 3,
    maxSequencesPerRequest: 8,
    maxRunBytes: 20_000,
  };

  test.each([
    ['INVALID_PARAMETER', { num_beams: [5] }],
    ['INVALID_PARAMETER', { num_return_sequences: [5], do_sample: [true] }],
    ['INVALID_PARAMETER', { max_new_tokens: [11] }],
    ['INVALID_PARAMETER', { num_beams: [4], max_new_tokens: [10] }], // More bytes than a run may take.
    ['INVALID_INPUT', { text: prompts(4) }],
    ['INVALID_INPUT', { text: prompts(3), num_beams: [3] }],
  ] as const)('is refused with %s before anything is computed: %j', async (code, inputs) => {
    const { model, batches } = await start(`${fixtures}checkpoints/narrow-vision`, limits);
    await expectHandlerError(model.infer({ inputs: { img_url: [photo], ...inputs } }), code);
    expect(batches).toEqual([]);
    expect(model.queuedItems()).toBe(0);
  });
});
