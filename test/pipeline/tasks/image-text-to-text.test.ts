import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RunningModel, startModel } from '../../../pipeline/model.ts';
import { questionPrompt, settingsOf } from '../../../pipeline/tasks/image-text-presets.ts';
import { valuesOf } from '../../support/answers.ts';
import { checkpointFolder, imagePath } from '../../support/goldens.ts';
import { publishedBlip2 } from '../../support/published-blip2.ts';
import { type TestSettings, testSettings } from '../../support/server.ts';
import { expectHandlerError } from '../../support/thrown.ts';

/** Which words and defaults a question or a text has, by preset, in each kind of model. */

const question = 'how many cats?';
const image = readFileSync(imagePath('chelsea'));

function withModel(name: Parameters<typeof checkpointFolder>[0], settings: Partial<TestSettings> = {}) {
  let model: RunningModel | undefined;
  beforeAll(async () => {
    model = await startModel(testSettings({ checkpoint: checkpointFolder(name), ...settings }));
  });
  afterAll(() => model?.close());
  return (inputs: object, outputs: readonly string[] = ['token_ids']) => {
    if (model === undefined) throw new Error('Expected a model that has started.');
    return model.infer({ inputs: { img_url: [image], ...inputs }, outputs });
  };
}

describe.each(['blip2-opt', 'blip2-t5'] as const)('%s', (name) => {
  const infer = withModel(name);
  const idsOf = async (inputs: object) => valuesOf(await infer(inputs), 'token_ids');

  test('a question has the usual form, unless the preset sends it as it is', async () => {
    const asText = await idsOf({ text: [`Question: ${question} Answer:`] });
    expect(await idsOf({ question: [question] })).toEqual(asText);
    expect(await idsOf({ question: [question], preset: 'vqa' })).toEqual(asText);
    expect(await idsOf({ question: [question], preset: 'hf' })).toEqual(await idsOf({ text: [question] }));
  });

  test('a text is sent as it is, whatever the preset', async () => {
    expect(await idsOf({ text: ['a photo'], preset: 'vqa' })).toEqual(await idsOf({ text: ['a photo'] }));
    expect(await idsOf({ text: [''] })).toEqual(await idsOf({}));
  });

  test('earlier questions come before it: pairs, or a text', async () => {
    const earlier = 'Question: is it day? Answer: yes.';
    const asText = await idsOf({ text: [`${earlier} Question: ${question} Answer:`] });
    expect(await idsOf({ question: [question], context: ['is it day?', 'yes'] })).toEqual(asText);
    expect(await idsOf({ question: [question], context: [earlier] })).toEqual(asText);
  });

  test('original-blip has the parameters of LAVIS, which a request may change', async () => {
    const form = name === 'blip2-t5' ? 'Short answer:' : 'Answer:';
    const lavis = { num_beams: 5, max_new_tokens: 10, min_new_tokens: 1, length_penalty: name === 'blip2-t5' ? -1 : 0 };
    const asText = await idsOf({ text: [`Question: ${question} ${form}`], ...lavis });
    expect(await idsOf({ question: [question], preset: 'original-blip' })).toEqual(asText);
    const caption = { num_beams: 5, max_new_tokens: 30, min_new_tokens: 1 };
    expect(await idsOf({ preset: 'original-blip' })).toEqual(await idsOf(caption));
    const changed = await idsOf({ preset: 'original-blip', max_new_tokens: 4 });
    expect(changed).toEqual(await idsOf({ ...caption, max_new_tokens: 4 }));
  });

  test('an answer is the new text alone', async () => {
    const answer = await infer({ question: [question] }, ['answer', 'token_ids']);
    const text = await infer({ text: [`Question: ${question} Answer:`] }, ['generated_output']);
    const [whole = '', alone = ''] = [valuesOf(text, 'generated_output')[0], valuesOf(answer, 'answer')[0]].map(String);
    expect(whole.endsWith(alone)).toBe(true);
    expect(whole === alone).toBe(name === 'blip2-t5');
  });

  test('the other text is left out where both are asked for, and refused alone', async () => {
    const both = ['generated_output', 'answer'];
    const namesOf = async (inputs: object) => (await infer(inputs, both)).outputs.map((output) => output.name);
    expect(await namesOf({ question: [question] })).toEqual(['answer']);
    expect(await namesOf({})).toEqual(['generated_output']);
    const ofQuestion = await expectHandlerError(infer({ question: [question] }, ['generated_output']), 'INVALID_INPUT');
    expect(ofQuestion.message).toBe(
      'Expected the output answer of a question, got generated_output: ask for answer, or send a text.',
    );
    const ofText = await expectHandlerError(infer({}, ['answer', 'token_ids']), 'INVALID_INPUT');
    expect(ofText.message).toContain('got answer: ask for generated_output, or send a question.');
  });

  test.each([
    [{ question: [question], text: ['a'] }, 'Expected text or question, got both'],
    [{ context: ['a', 'b'] }, 'Expected context with a question'],
    [{ context: ['a', 'b'], question: [question], preset: 'hf' }, 'Expected context without preset hf'],
    [{ context: ['a', 'b', 'c'], question: [question] }, 'an answer for each question, got 3 texts'],
    [{ question: ['what is <image>?'] }, 'Expected a prompt without <image>'],
    [{ text: ['<image>'] }, 'Leave it out: the image comes first by itself.'],
    [{ preset: 'bentoblip' }, 'Expected preset to be one of'],
    [{ num_beams: 40 }, 'Expected num_beams to be <= 32, got 40'],
    [{ do_sample: 'yes' }, 'Expected do_sample to be boolean, got "yes"'],
  ])('refused is %j', async (inputs, message) => {
    const error = await expectHandlerError(infer(inputs), 'INVALID_INPUT');
    expect(error.message).toContain(message);
  });

  test('lengths count the prompt where the model goes on with it', async () => {
    const ids = await idsOf({ text: ['a'] });
    const length = ids.length - 20;
    if (name === 'blip2-opt') await expectHandlerError(infer({ text: ['a'], max_length: length }), 'PROMPT_TOO_LONG');
    expect(await idsOf({ text: ['a'], max_length: length + 3 })).toHaveLength(length + 3);
  });

  test('a text that takes too much is refused before its image is looked at', async () => {
    const dear = { img_url: ['http://127.0.0.1/'], num_beams: 32, max_new_tokens: 600, do_sample: true, top_k: 0 };
    await expectHandlerError(infer(dear), name === 'blip2-opt' ? 'PROMPT_TOO_LONG' : 'INVALID_PARAMETER');
  });
});

describe.each(['blip2-opt', 'blip2-t5', 'instructblip-t5', 'blip2-llama'] as const)('a long prompt to %s', (name) => {
  const infer = withModel(name);

  // One word of so many tokens took T5's encoder 7 GB: every token is compared with every other.
  test.each([3_000, 12_000, 60_000])('of %i characters is refused before its image is looked at', async (count) => {
    const long = { img_url: ['http://127.0.0.1/'], text: ['xq'.repeat(count / 2)] };
    await expectHandlerError(infer(long), 'PROMPT_TOO_LONG');
  });
});

describe('InstructBLIP', () => {
  const infer = withModel('instructblip-t5');
  const idsOf = async (inputs: object) => valuesOf(await infer(inputs), 'token_ids');

  test('gets a question as it is, unless a preset or earlier ones give it a form', async () => {
    expect(await idsOf({ question: ['a?'] })).toEqual(await idsOf({ text: ['a?'] }));
    const asText = await idsOf({ text: ['Question: a? Answer:'] });
    expect(await idsOf({ question: ['a?'], preset: 'vqa' })).toEqual(asText);
    const chat = 'Question: c Answer: b. Question: a? Answer:';
    expect(await idsOf({ question: ['a?'], context: ['c', 'b'] })).toEqual(await idsOf({ text: [chat] }));
  });

  test('answers without a text, which transformers cannot', async () => {
    expect(await idsOf({})).toEqual(await idsOf({ text: [''] }));
  });
});

describe('the preset of a service', () => {
  const [usual, plain, original] = [
    withModel('blip2-opt'),
    withModel('blip2-opt', { preset: 'hf' }),
    withModel('blip2-opt', { preset: 'original-blip' }),
  ];
  const asked = { question: [question] };

  test('holds where the request names none', async () => {
    const idsOf = async (infer: typeof usual, inputs: object) => valuesOf(await infer(inputs), 'token_ids');
    expect(await idsOf(plain, asked)).toEqual(await idsOf(usual, { ...asked, preset: 'hf' }));
    expect(await idsOf(original, asked)).toEqual(await idsOf(usual, { ...asked, preset: 'original-blip' }));
    expect(await idsOf(original, { ...asked, preset: 'vqa' })).toEqual(await idsOf(usual, asked));
  });

  test('hf gives way to earlier questions', async () => {
    const chat = { ...asked, context: ['is it day?', 'yes'] };
    expect(valuesOf(await plain(chat), 'token_ids')).toEqual(valuesOf(await usual(chat), 'token_ids'));
  });
});

describe('presets of models that are too large for a test', () => {
  const vicuna = publishedBlip2['vicuna-7b'];

  test('LAVIS lets InstructBLIP write long texts without repetition', () => {
    expect(settingsOf('original-blip', false, vicuna)).toMatchObject({
      num_beams: 5,
      maxNewTokens: { tokens: 256, includesPrompt: false },
      repetition_penalty: 1.5,
    });
    expect(settingsOf('original-blip', true, vicuna)).toMatchObject({ length_penalty: 0 });
  });

  test('the form of a question', () => {
    expect(questionPrompt('a?', undefined, [], vicuna)).toBe('a?');
    expect(questionPrompt('a?', 'original-blip', [], vicuna)).toBe('Question: a? Answer:');
    expect(questionPrompt('a?', 'original-blip', [], publishedBlip2['flan-t5-xl'])).toBe('Question: a? Short answer:');
  });
});
