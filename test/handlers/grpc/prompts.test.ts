import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { createModels } from '../../../handlers/service/model-loading.ts';
import { checkpointFolder, imagePath } from '../../support/goldens.ts';
import { expectStatus, grpcClientOf, PROMPTS } from '../../support/grpc.ts';
import { dataUri, modelSettingsOf, serverTestSettings } from '../../support/server.ts';
import { doorsForTest, withDoors, withImageServerForEach } from '../../support/with-server.ts';

const doors = withDoors();
const images = withImageServerForEach();
const service = PROMPTS;
const bytes = readFileSync(imagePath('small'));

interface PromptAnswer {
  readonly text: string;
  readonly score: number;
  readonly error: { readonly code: string; readonly message: string } | null;
}

const ask = (prompt: object) => doors.client.call<PromptAnswer>('Answer', prompt, { service });
const parametersOf = (maxNewTokens: number) => ({ fields: { max_new_tokens: { numberValue: maxNewTokens } } });

/** What the model itself answers, as every door has it. */
async function captionOf(inputs: object): Promise<PromptAnswer> {
  const asked = { inputs, outputs: ['generated_output', 'sequence_logprob'] };
  const { outputs } = await doors.model.inferTensors(asked);
  const [text, logprob] = outputs.map(({ data }) => data[0]);
  return { text: String(text), score: Math.exp(Number(logprob)), error: null };
}

describe('Answer', () => {
  test('has the text of the model and its probability, for bytes, a data: URL and an http URL', async () => {
    const own = await captionOf({ img_url: bytes, text: 'a picture of' });
    expect(own.score).toBeGreaterThan(0);
    expect(own.score).toBeLessThan(1);
    expect(await ask({ bytes, prompt: 'a picture of' })).toEqual(own);
    expect(await ask({ url: dataUri('small'), prompt: 'a picture of' })).toEqual(own);
    const fetched = await captionOf({ img_url: readFileSync(imagePath('chelsea')), text: 'a picture of' });
    expect(await ask({ url: `${images.url}/chelsea.png`, prompt: 'a picture of' })).toEqual(fetched);
  });

  test('takes parameters, a model and no prompt', async () => {
    const own = await captionOf({ img_url: bytes, max_new_tokens: 2 });
    expect(await ask({ bytes, model: 'captioning', parameters: parametersOf(2) })).toEqual(own);
  });

  test.each([
    ['no image', { prompt: 'a' }, 'INVALID_INPUT', /url or bytes/],
    ['a path of a file', { url: '/etc/passwd' }, 'IMAGE_SOURCE_INVALID', /reads no paths/],
    ['a file: URL', { url: 'file:///etc/passwd' }, 'IMAGE_SOURCE_INVALID', /reads no paths/],
    ['base64', { url: bytes.toString('base64') }, 'IMAGE_SOURCE_INVALID', /reads no paths/],
    ['bytes of no image', { bytes: Buffer.from('none') }, 'IMAGE_UNSUPPORTED', /./],
    [
      'an unknown parameter',
      { bytes, parameters: { fields: { tokens: { numberValue: 2 } } } },
      'INVALID_INPUT',
      /tokens/,
    ],
    ['a fraction of tokens', { bytes, parameters: parametersOf(2.5) }, 'INVALID_INPUT', /max_new_tokens/],
    [
      'its prompt among the parameters',
      { bytes, parameters: { fields: { text: { stringValue: 'a' } } } },
      'INVALID_INPUT',
      /text/,
    ],
  ])('refuses %s', async (_what, prompt, code, message) => {
    expect(await expectStatus(ask(prompt), 'INVALID_ARGUMENT', code)).toMatch(message);
  });

  test('refuses several answers to a prompt, and a model that is not there', async () => {
    const several = { fields: { num_return_sequences: { numberValue: 2 }, num_beams: { numberValue: 2 } } };
    await expectStatus(ask({ bytes, parameters: several }), 'INVALID_ARGUMENT', 'INVALID_PARAMETER');
    await expectStatus(ask({ bytes, model: 'other' }), 'NOT_FOUND', 'NOT_FOUND');
  });

  test('needs a token, and counts for it', async () => {
    const guarded = await doorsForTest({ apiTokens: ['one'], maxRequestsPerToken: 1 });
    await expectStatus(guarded.client.call('Answer', { bytes }, { service }), 'UNAUTHENTICATED', 'UNAUTHORIZED');
    const called = { service, metadata: { authorization: 'Bearer one' } };
    const first = guarded.client.call<PromptAnswer>('Answer', { url: `${images.url}/held.png` }, called);
    await images.held(1);
    await expectStatus(guarded.client.call('Answer', { bytes }, called), 'RESOURCE_EXHAUSTED', 'OVERLOADED');
    images.release();
    expect(await first).toMatchObject({ text: expect.stringMatching(/./), error: null });
  });

  test('ends at the deadline of the call', async () => {
    const held = { url: `${images.url}/held.png` };
    const late = doors.client.call('Answer', held, { service, deadlineMs: 300 });
    await expect(late).rejects.toMatchObject({ code: 4 });
    images.release();
  });
});

describe('AnswerBatch', () => {
  const batch = async (prompts: readonly object[]) =>
    (await doors.client.call<{ answers: readonly PromptAnswer[] }>('AnswerBatch', { prompts }, { service })).answers;

  test('answers every prompt as alone; one that fails does not spoil the others', async () => {
    const prompts = [
      { bytes, prompt: 'a picture of' },
      { url: 'cat.png' },
      { url: dataUri('chelsea'), parameters: parametersOf(3) },
      { bytes: Buffer.from('none') },
      { bytes, model: 'other' },
      { url: dataUri('rocket'), prompt: 'a' },
    ];
    const answers = await batch(prompts);
    expect(answers.map(({ error }) => error?.code ?? null)).toEqual([
      null,
      'IMAGE_SOURCE_INVALID',
      null,
      'IMAGE_UNSUPPORTED',
      'NOT_FOUND',
      null,
    ]);
    expect(answers[3]?.error?.message).toMatch(/^Expected/);
    for (const index of [0, 2, 5]) {
      const { text, score } = await ask(prompts[index] ?? {});
      expect(answers[index]?.text).toBe(text);
      expect(answers[index]?.score).toBeCloseTo(score, 4);
    }
  });

  test('fails where no prompt has an answer, and may be empty', async () => {
    await expectStatus(batch([{ url: 'a.png' }, {}]), 'INVALID_ARGUMENT', 'IMAGE_SOURCE_INVALID');
    expect(await batch([])).toEqual([]);
  });

  test('has at most the items of a request', async () => {
    const few = await doorsForTest({ maxItemsPerRequest: 2 });
    const prompts = [1, 2, 3].map((tokens) => ({ bytes, parameters: parametersOf(tokens) }));
    const refused = few.client.call('AnswerBatch', { prompts }, { service });
    expect(await expectStatus(refused, 'INVALID_ARGUMENT', 'INVALID_INPUT')).toMatch(/at most 2 prompts/);
  });
});

test('AnswerStream answers in order, and goes on after an error', async () => {
  const prompts = [{ bytes, prompt: 'a' }, { url: 'cat.png' }, {}, { url: dataUri('chelsea') }];
  const call = doors.client.open('AnswerStream', { service });
  for (const prompt of prompts) call.write(prompt);
  call.end();
  const answers = (await call.toArray()) as PromptAnswer[]; // The .proto names the message.
  expect(answers.map(({ error }) => error?.code ?? null)).toEqual([
    null,
    'IMAGE_SOURCE_INVALID',
    'INVALID_INPUT',
    null,
  ]);
  expect(answers[0]?.text).toBe((await ask(prompts[0] ?? {})).text);
});

describe('each task', () => {
  const settings = serverTestSettings({
    models: [
      { name: 'pairs', checkpoint: checkpointFolder('retrieval-wide-vision') },
      { name: 'questions', checkpoint: checkpointFolder('answers-float32') },
      { name: 'opt', checkpoint: checkpointFolder('blip2-opt') },
      { name: 't5', checkpoint: checkpointFolder('blip2-t5') },
    ],
  });

  test('has its own meaning of a prompt', async () => {
    const models = createModels(modelSettingsOf(settings), settings.models);
    const client = await grpcClientOf(models, settings);
    const asked = (prompt: object) => client.call<PromptAnswer>('Answer', { bytes, ...prompt }, { service });
    const question = await models[1]?.infer({ img_url: bytes, question: 'how many cats are there?' });
    const prompt = 'Question: how many cats are there? Answer:';
    expect((await asked({ prompt: 'how many cats are there?' })).text).toBe(question?.answer); // The first one that can.
    for (const [index, model] of [
      [2, 'opt'],
      [3, 't5'],
    ] as const) {
      const own = await models[index]?.infer({ img_url: bytes, question: 'how many cats are there?' });
      expect((await asked({ model, prompt })).text).toBe(own?.answer);
      const free = await models[index]?.infer({ img_url: bytes });
      expect((await asked({ model })).text).toBe(free?.generated_output);
    }
    await expectStatus(asked({ model: 'pairs', prompt }), 'INVALID_ARGUMENT', 'INVALID_INPUT');
    await expectStatus(asked({}), 'INVALID_ARGUMENT', 'INVALID_INPUT');
    const prompts = [{ bytes }, { bytes, prompt: 'how many cats are there?' }];
    const { answers } = await client.call<{ answers: readonly PromptAnswer[] }>(
      'AnswerBatch',
      { prompts },
      { service },
    );
    expect(answers.map(({ text, error }) => [text, error?.code])).toEqual([
      ['', 'INVALID_INPUT'],
      [question?.answer, undefined],
    ]);
  });
});
