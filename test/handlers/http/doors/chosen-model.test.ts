import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { checkpointFolder, imagePath, requestPath } from '../../../support/goldens.ts';
import { dataUri, expectError, type HttpAnswer, send } from '../../../support/server.ts';
import { withServer, withServerOfModels } from '../../../support/with-server.ts';

/** Doors whose requests name no model, and say themselves what they ask for, beside a model for each task. */

const models = [
  { name: 'captions', checkpoint: checkpointFolder('narrow-vision') },
  { name: 'answers', checkpoint: checkpointFolder('answers-float32') },
  { name: 'matches', checkpoint: checkpointFolder('retrieval-wide-vision') },
  { name: 'clip', checkpoint: checkpointFolder('clip-real-end') },
] as const;

const server = withServerOfModels({ models });
const answersFirst = withServerOfModels({ models: [models[1], models[0]] });
const captioning = withServer();

const image = dataUri('chelsea');
const base64 = readFileSync(imagePath('chelsea')).toString('base64');
const question = 'is the cat black?';

const postTo = (url: string, path: string, body: unknown) =>
  send(url, { method: 'POST', path, body: JSON.stringify(body) });

function read(answer: HttpAnswer): Readonly<Record<string, unknown>> {
  expect(answer.status, answer.text).toBe(200);
  return JSON.parse(answer.text);
}

/** The outputs of a model by its own name. */
async function outputs(model: string, inputs: object): Promise<Readonly<Record<string, unknown>>> {
  return read(await postTo(server.url, `/v2/models/${model}/generate`, inputs));
}

describe("Cog's door", () => {
  const predict = (input: object, url = server.url) => postTo(url, '/predictions', { input });
  const outputOf = async (input: object, url = server.url) => read(await predict(input, url))['output'];

  const caption = async () => (await outputs('captions', { img_url: image }))['generated_output'];
  const answer = async () => (await outputs('answers', { img_url: image, question }))['answer'];

  test("answers Replicate's tasks by the models that have them", async () => {
    expect(await outputOf({ image })).toBe(await caption());
    expect(await outputOf({ image, task: 'image_captioning' })).toBe(await caption());
    expect(await outputOf({ image, task: 'image_captioning', question: null, caption: '' })).toBe(await caption());
    expect(await outputOf({ image, task: 'visual_question_answering', question })).toBe(await answer());
    const match = await outputs('matches', { img_url: image, text: 'a cat' });
    expect(await outputOf({ image, task: 'image_text_matching', caption: 'a cat' })).toEqual({
      match_probability: match['match_probability'],
      cosine_similarity: match['cosine_similarity'],
    });
  });

  test('tells the task by the inputs where none is named, as BLIP-2 of Replicate does', async () => {
    expect(await outputOf({ image, question })).toBe(await answer());
    expect(await outputOf({ image, question, caption: false })).toBe(await answer());
    expect(await outputOf({ image, caption: true })).toBe(await caption());
    expect(await outputOf({ image, caption: 'a cat' })).toHaveProperty('match_probability');
    expect(await outputOf({ image }, answersFirst.url).catch(() => 'refused')).toBe('refused');
    expect(await outputOf({ image, caption: true }, answersFirst.url)).toBe(await caption());
  });

  test('refuses a task that no model has, and names a model that has it', async () => {
    const body = JSON.parse(readFileSync(requestPath('cog-question'), 'utf8'));
    const { error } = expectError(await postTo(captioning.url, '/predictions', body), 400, 'INVALID_INPUT');
    expect(error).toBe(
      'Expected a request for captioning, got the task visual_question_answering. That needs a model for question-answering or image-text-to-text, such as Salesforce/blip-vqa-base.',
    );
    expect(read(await postTo(server.url, '/predictions', body))).toMatchObject({ status: 'succeeded' });
    for (const input of [
      { image, question },
      { image, caption: 'a cat' },
      { image, task: 'image_text_matching' },
    ])
      expectError(await predict(input, captioning.url), 400, 'INVALID_INPUT');
  });

  test.each([
    [{ task: 'image_captioning', question }, 'Expected no question for the task captioning, got one.'],
    [{ task: 'image_captioning', caption: 'a cat' }, 'Expected no caption for the task captioning, got one.'],
    [{ question, caption: true }, 'Expected no caption for the task question-answering, got one.'],
    [{ task: 'painting' }, 'Expected task to be image_captioning, visual_question_answering or image_text_matching'],
    [{ img_url: image }, 'Expected image or img_url, which mean the same, got both.'],
    [{ use_beam_search: true }, 'got "use_beam_search": did you mean num_beams?'],
    [{ num_beam: 3 }, 'got "num_beam": did you mean num_beams?'],
    [{ context: 'a photo' }, 'got "context"'],
    [{ task: 5 }, 'Expected task to be'],
  ])('drops no input: %j', async (more, message) => {
    expect(expectError(await predict({ image, ...more }), 400, 'INVALID_INPUT').error).toContain(message);
  });

  test('refuses keys beside the input that nobody reads', async () => {
    const answer = await postTo(server.url, '/predictions', { input: { image }, inputs: {} });
    expect(expectError(answer, 400, 'INVALID_REQUEST').error).toContain('got "inputs": did you mean input?');
    read(await postTo(server.url, '/predictions', { input: { image }, version: 'x', stream: false, webhook: null }));
  });
});

describe("Hugging Face's door", () => {
  const post = (body: object, url = server.url) => postTo(url, '/', body);

  test('answers a question by a model that answers some, in every form', async () => {
    const { answer } = await outputs('answers', { img_url: image, question });
    for (const url of [server.url, answersFirst.url])
      for (const body of [
        { inputs: { image: base64, question } },
        { inputs: { question, image: base64 }, options: { wait_for_model: true, use_cache: false } },
        { inputs: base64, question, image: base64, parameters: { top_k: 3 } }, // As huggingface_hub sends it.
        { inputs: base64, parameters: { question } },
      ])
        expect(read(await post(body, url))).toMatchObject([{ answer }]);
  });

  test('answers labels by a model that compares', async () => {
    const labels = ['a cat', 'a dog'];
    const texts = labels.map((label) => `This is a photo of ${label}.`);
    const { probability } = await outputs('clip', { img_url: image, text: texts });
    const scores = new Map(labels.map((label, index) => [label, (probability as readonly number[])[index]]));
    const got = read(await post({ inputs: base64, parameters: { candidate_labels: labels } }));
    expect(got).toHaveLength(2);
    for (const { label, score } of got as unknown as readonly { label: string; score: number }[])
      expect(score).toBe(scores.get(label));
  });

  test('captions an image alone, whichever model is first', async () => {
    const { generated_output: caption } = await outputs('captions', { img_url: image });
    for (const url of [server.url, answersFirst.url])
      expect(read(await post({ inputs: base64 }, url))).toMatchObject({ generated_text: caption });
  });

  test('gives a text to the first model, as a prompt or as a question', async () => {
    const body = { inputs: { image: base64, text: 'is the cat black?' } };
    expect(read(await post(body))).toHaveProperty('generated_text');
    expect(read(await post(body, answersFirst.url))).toHaveProperty('0.answer');
  });

  test.each([
    [
      { inputs: { image: base64, question } },
      'got a question. That needs a model for question-answering or image-text-to-text, such as',
    ],
    [
      { inputs: base64, parameters: { candidate_labels: ['a'] } },
      'got candidate_labels. That needs a model for clip or',
    ],
    [{ inputs: { image: base64, question, text: 'a' } }, 'Expected question or text, got both.'],
    [{ inputs: base64, parameters: { hypothesis_template: 'a {}' } }, 'Expected candidate_labels beside'],
    [{ inputs: base64, parameters: { num_beam: 3 } }, 'got "num_beam": did you mean num_beams?'],
    [{ inputs: base64, parameters: { generate_kwargs: { max_new_token: 3 } } }, 'did you mean max_new_tokens?'],
    [{ inputs: base64, parameters: { tools: [] } }, 'got "tools".'],
  ])('never captions in place of it: %#', async (body, message) => {
    expect(expectError(await post(body, captioning.url), 400, 'INVALID_INPUT').error).toContain(message);
  });

  test('refuses keys that nobody reads, in the body, in its inputs and in the query', async () => {
    for (const body of [{ inputs: base64, parameter: {} }, { inputs: { image: base64, prompt: 'a' } }])
      expectError(await post(body), 400, 'INVALID_REQUEST');
    const answer = await send(server.url, {
      method: 'POST',
      path: '/?num_beam=2',
      body: Buffer.from(base64, 'base64'),
    });
    expect(expectError(answer, 400, 'INVALID_INPUT').error).toContain('did you mean num_beams?');
  });

  test('takes null as absent at every place', async () => {
    const { generated_output: caption } = await outputs('captions', { img_url: image });
    for (const body of [
      { inputs: base64, parameters: null, options: null },
      { inputs: null, image: base64 },
      {
        inputs: { image: base64, question: null, text: null },
        parameters: { candidate_labels: null, num_beams: null },
      },
      { inputs: base64, parameters: { generate_kwargs: { num_beams: null, text: null } } },
    ])
      expect(read(await post(body))).toMatchObject({ generated_text: caption });
  });
});
