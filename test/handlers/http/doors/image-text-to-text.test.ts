import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { checkpointFolder, imagePath } from '../../../support/goldens.ts';
import { dataUri, expectError, type HttpAnswer, send } from '../../../support/server.ts';
import { withServer, withServerOfModels } from '../../../support/with-server.ts';

/** BLIP-2 captions and answers questions at every door. */

const server = withServer({ checkpoint: checkpointFolder('blip2-opt') });
const behindOthers = withServerOfModels({
  models: [
    { name: 'answers', checkpoint: checkpointFolder('answers-float32') },
    { name: 'blip2', checkpoint: checkpointFolder('blip2-opt') },
  ],
});

const image = dataUri('chelsea');
const question = 'how many cats are there?';
const prompt = 'a photo of';

const post = (path: string, body: object, url = server.url) =>
  send(url, { method: 'POST', path, body: JSON.stringify(body) });

function read(answer: HttpAnswer): Readonly<Record<string, unknown>> {
  expect(answer.status, answer.text).toBe(200);
  return JSON.parse(answer.text);
}

const generate = async (inputs: object) =>
  read(await post('/v2/models/image-text-to-text/generate', { img_url: image, ...inputs }));
const textOf = async (inputs: object = {}) => (await generate(inputs))['generated_output'];
const answerOf = async (inputs: object = {}) => (await generate({ question, ...inputs }))['answer'];

test('a request has a text or an answer, and never both', async () => {
  const [text, answer] = [await generate({ text: prompt }), await generate({ question })];
  expect(Object.keys(text)).toEqual(['model_name', 'model_version', 'parameters', 'generated_output']);
  expect(Object.keys(answer)).toEqual(['model_name', 'model_version', 'parameters', 'answer']);
  expect(text['generated_output']).toMatch(/^a photo of/);
  expect(await textOf()).not.toBe(text['generated_output']);
});

describe("Cog's door", () => {
  const predict = async (input: object, url = server.url) =>
    read(await post('/predictions', { input: { image, ...input } }, url))['output'];

  test("has the purposes of Replicate's BLIP-2", async () => {
    expect(await predict({})).toBe(await textOf());
    expect(await predict({ caption: true })).toBe(await textOf());
    expect(await predict({ task: 'image_captioning', text: prompt })).toBe(await textOf({ text: prompt }));
    expect(await predict({ question })).toBe(await answerOf());
    expect(await predict({ question, caption: false })).toBe(await answerOf());
    expect(await predict({ question, task: 'visual_question_answering' })).toBe(await answerOf());
    const context = 'Question: is it day? Answer: yes.';
    expect(await predict({ question, context })).toBe(await answerOf({ context }));
    expect(await predict({ question, context })).not.toBe(await answerOf());
  });

  test('reads what clients of its form send', async () => {
    const form = { use_nucleus_sampling: false, temperature: 1, context: '' };
    const usual = 'What is this a picture of?';
    expect(await predict({ ...form, caption: true, question: usual })).toBe(await textOf());
    expect(await predict({ ...form, caption: false, question: '' })).toBe(await textOf());
    expect(await predict({ ...form, caption: false })).toBe(await answerOf({ question: usual }));
  });

  test('finds it behind a model of another task', async () => {
    expect(await predict({ caption: true }, behindOthers.url)).toBe(await textOf());
  });

  test.each([
    [{ question, caption: true }, 'Expected no caption'],
    [{ question, task: 'image_captioning' }, 'Expected no question for the task captioning'],
    [{ caption: 'a cat' }, 'Expected a request for image-text-to-text, got a caption to compare.'],
  ])('drops no input: %j', async (input, message) => {
    const answer = await post('/predictions', { input: { image, ...input } });
    expect(expectError(answer, 400, 'INVALID_INPUT').error).toContain(message);
  });
});

describe("BentoML's route", () => {
  const generateText = async (inputs: object) => {
    const { status, text } = await post('/generate', { img: image, ...inputs });
    expect(status, text).toBe(200);
    return text;
  };

  test('continues a text, and answers a question', async () => {
    expect(await generateText({})).toBe(await textOf());
    expect(await generateText({ txt: prompt, max_new_tokens: 3 })).toBe(
      await textOf({ text: prompt, max_new_tokens: 3 }),
    );
    expect(await generateText({ question })).toBe(await answerOf());
  });

  test('refuses a text beside a question', async () => {
    expectError(await post('/generate', { img: image, txt: prompt, question }), 400, 'INVALID_INPUT');
  });
});

describe("Hugging Face's pipelines", () => {
  const ask = async (body: object, url = server.url) => read(await post('/', body, url));

  test('continue a text, and answer a question', async () => {
    expect(await ask({ inputs: image })).toMatchObject({ generated_text: await textOf() });
    expect(await ask({ inputs: { image, text: prompt } })).toMatchObject({
      generated_text: await textOf({ text: prompt }),
    });
    expect(await ask({ inputs: { image, question } })).toEqual([
      { answer: await answerOf(), score: expect.any(Number) },
    ]);
    const bytes = readFileSync(imagePath('chelsea'));
    const answer = await send(server.url, { method: 'POST', body: bytes, headers: { 'content-type': 'image/png' } });
    expect(read(answer)).toMatchObject({ generated_text: await textOf() });
  });

  test('give an image alone to it, behind a model that answers questions', async () => {
    expect(await ask({ inputs: image }, behindOthers.url)).toMatchObject({ generated_text: await textOf() });
  });
});

describe('BLIP-2 that compares', () => {
  const comparing = withServer({ checkpoint: checkpointFolder('blip2-itm') });
  const texts = ['a cat', 'a dog'];
  const compare = async () =>
    read(await post('/v2/models/retrieval/generate', { img_url: image, text: texts }, comparing.url));

  test("is the retrieval of Cog's and Hugging Face's doors", async () => {
    const { match_probability: matches } = await compare();
    const [cat = 0, dog = 0] = Array.isArray(matches) ? matches.flat().map(Number) : [];
    expect(cat).not.toBe(dog);
    const input = { image, task: 'image_text_matching', caption: texts[0] };
    const { output } = read(await post('/predictions', { input }, comparing.url));
    expect(output).toMatchObject({ match_probability: expect.closeTo(cat, 5) });
    const parameters = { candidate_labels: texts, hypothesis_template: '{}' };
    const labels = read(await post('/', { inputs: image, parameters }, comparing.url));
    const scores = [
      { label: texts[0], score: expect.closeTo(cat, 5) },
      { label: texts[1], score: expect.closeTo(dog, 5) },
    ];
    expect(labels).toEqual(cat > dog ? scores : scores.toReversed());
  });

  test('refuses a question', async () => {
    const answer = await post('/predictions', { input: { image, question } }, comparing.url);
    expect(expectError(answer, 400, 'INVALID_INPUT').error).toContain('Expected a request for retrieval');
  });
});

describe('other doors', () => {
  test("Vertex AI's instances may ask for either", async () => {
    const instances = [{ img_url: image }, { img_url: image, question }];
    const { predictions } = read(await post('/v1/models/image-text-to-text:predict', { instances }));
    expect(predictions).toEqual([{ generated_output: await textOf() }, { answer: await answerOf() }]);
  });

  test("RunPod's job has its outputs by name", async () => {
    const job = read(await post('/v2/image-text-to-text/runsync', { input: { img_url: image, question } }));
    expect(job).toMatchObject({ status: 'COMPLETED', output: { answer: await answerOf() } });
  });

  test('OpenAPI and the metadata have the inputs of both purposes', async () => {
    const description = read(await send(server.url, { path: '/openapi.json' }));
    const text = JSON.stringify(description['paths']);
    for (const name of ['question', 'context', 'text', 'answer', 'generated_output']) expect(text).toContain(name);
    const metadata = read(await send(server.url, { path: '/v2/models/image-text-to-text' }));
    expect(metadata['inputs']).toContainEqual(expect.objectContaining({ name: 'context', datatype: 'BYTES' }));
  });
});
