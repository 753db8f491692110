import { readFileSync } from 'node:fs';
import { InferenceClient } from '@huggingface/inference';
import { describe, expect, test } from 'vitest';
import { expectClose } from '../../../support/close-to.ts';
import { checkpointFolder, imagePath } from '../../../support/goldens.ts';
import {
  bytes,
  dataUri,
  expectError,
  type HttpAnswer,
  type InferenceAnswer,
  outputOf,
  postInference,
  type RunningServer,
  readAnswer,
  send,
} from '../../../support/server.ts';
import { serverForTest, withImageServer, withServer } from '../../../support/with-server.ts';

/** The routes of Hugging Face's Inference Endpoints, asked by hand and by Hugging Face's own client. */

const chelsea = readFileSync(imagePath('chelsea'));
const base64 = chelsea.toString('base64');
/** A number goes through JSON in float32's digits, and back. */
const TOLERANCE = { absolute: 1e-6 };

const captions = withServer({ checkpoint: checkpointFolder('narrow-vision') });
const answers = withServer({ checkpoint: checkpointFolder('answers-float32') });
const matches = withServer({ checkpoint: checkpointFolder('retrieval-wide-vision') });
const clip = withServer({ checkpoint: checkpointFolder('clip-real-end') });
const images = withImageServer();

interface Posted {
  readonly path?: string;
  readonly contentType?: string;
}

function post(server: RunningServer, body: unknown, { path = '/', contentType }: Posted = {}): Promise<HttpAnswer> {
  const raw = body instanceof Uint8Array || typeof body === 'string' ? body : JSON.stringify(body);
  const headers = contentType === undefined ? {} : { 'content-type': contentType };
  return send(server.url, { method: 'POST', path, headers, body: raw });
}

/** The body of a successful answer. */
function readJson(answer: HttpAnswer): unknown {
  expect(answer, answer.text).toMatchObject({ status: 200, headers: { 'content-type': 'application/json' } });
  return JSON.parse(answer.text);
}

/** The answer of the KServe route to the equal request. */
async function infer(
  server: RunningServer,
  inputs: readonly object[],
  { outputs, parameters }: { outputs?: readonly string[]; parameters?: object } = {},
): Promise<InferenceAnswer> {
  const path = `/v2/models/${server.model.name}/infer`;
  const body = { inputs, parameters, outputs: outputs?.map((name) => ({ name })) };
  return readAnswer(await postInference(server.url, body, { path }));
}

const image = () => bytes('img_url', [dataUri('chelsea')]);

async function captionOf(parameters: object = {}, text?: string): Promise<string> {
  const inputs = [image(), ...(text === undefined ? [] : [bytes('text', [text])])];
  return String(outputOf(await infer(captions, inputs, { parameters }), 'generated_output').data[0]);
}

async function scoredAnswer(question: string): Promise<{ answer: string; score: number }> {
  const outputs = ['answer', 'sequence_logprob'];
  const answer = await infer(answers, [image(), bytes('question', [question])], { outputs });
  const logprob = Number(outputOf(answer, 'sequence_logprob').data[0]);
  return { answer: String(outputOf(answer, 'answer').data[0]), score: Math.exp(logprob) };
}

/** An answer in both shapes that clients read. */
const bothShapes = (...texts: readonly string[]) => ({
  ...texts.map((text) => ({ generated_text: text })),
  generated_text: texts[0],
});

describe('a caption', () => {
  test.each(['image/png', 'image/any', 'application/octet-stream', 'application/x-www-form-urlencoded', undefined])(
    'of the bytes of an image under the content type %s',
    async (contentType) => {
      const type = contentType === undefined ? {} : { contentType };
      const want = bothShapes(await captionOf());
      for (const path of ['/', '/predict'])
        expect(readJson(await post(captions, chelsea, { path, ...type }))).toEqual(want);
    },
  );

  test.each(['application/json', undefined, 'application/octet-stream', 'text/plain'])(
    'of JSON under the content type %s',
    async (contentType) => {
      const type = contentType === undefined ? {} : { contentType };
      const want = bothShapes(await captionOf());
      expect(readJson(await post(captions, { inputs: base64 }, type))).toEqual(want);
      expect(readJson(await post(captions, { inputs: `${images.url}/chelsea.png` }, type))).toEqual(want);
    },
  );

  test('of a named image with a prompt, inside of inputs or beside them', async () => {
    const want = bothShapes(await captionOf({}, 'a picture of'));
    const inputs = { image: dataUri('chelsea'), text: 'a picture of' };
    expect(readJson(await post(captions, { inputs }))).toEqual(want);
    expect(readJson(await post(captions, inputs))).toEqual(want);
    expect(
      readJson(await post(captions, { inputs: dataUri('chelsea'), parameters: { text: 'a picture of' } })),
    ).toEqual(want);
  });

  test('with parameters, grouped or not, beside those without effect', async () => {
    const want = bothShapes(await captionOf({ max_new_tokens: 4, num_beams: 2 }));
    for (const parameters of [
      { max_new_tokens: 4, num_beams: 2, return_full_text: false, stop: null, details: true },
      { max_new_tokens: 4, generate_kwargs: { num_beams: 2, timeout: 1 } },
      { max_new_tokens: 4, generation_parameters: { num_beams: 2 } },
      { generate_kwargs: null, generation_parameters: { num_beams: 2, max_new_tokens: 4 } },
    ])
      expect(readJson(await post(captions, { inputs: base64, parameters }))).toEqual(want);
  });

  test('with parameters of the query, where the body has none', async () => {
    const want = bothShapes(await captionOf({ max_new_tokens: 4, num_beams: 2 }));
    const path = '/?max_new_tokens=4&num_beams=2&watermark=1';
    expect(readJson(await post(captions, chelsea, { path }))).toEqual(want);
    expect(readJson(await post(captions, { inputs: base64 }, { path }))).toEqual(want);
    const short = bothShapes(await captionOf({ max_new_tokens: 2 }));
    expect(readJson(await post(captions, { inputs: base64, parameters: { max_new_tokens: 2 } }, { path }))).toEqual(
      short,
    );
    const prompted = bothShapes(await captionOf({}, 'a picture of'));
    expect(readJson(await post(captions, chelsea, { path: '/predict?text=a+picture+of' }))).toEqual(prompted);
  });

  test('as a list for the Python client, which refuses anything else', async () => {
    const headers = { 'user-agent': 'unknown/None; hf_hub/2.4.0; python/3.11.7', 'content-type': 'image/png' };
    const answer = await send(captions.url, { method: 'POST', headers, body: chelsea });
    expect(readJson(answer)).toEqual([{ generated_text: await captionOf() }]);
  });

  test('of several for one image', async () => {
    const parameters = { num_beams: 3, num_return_sequences: 3 };
    const answer = await infer(captions, [image()], { parameters });
    const texts = outputOf(answer, 'generated_output').data.map(String);
    expect(texts).toHaveLength(3);
    expect(readJson(await post(captions, { inputs: base64, parameters }))).toEqual(bothShapes(...texts));
  });
});

describe('an answer', () => {
  test('with its score', async () => {
    const question = 'is the cat black?';
    const { answer, score } = await scoredAnswer(question);
    expect(score).toBeGreaterThan(0);
    expect(score).toBeLessThan(1);
    const inputs = { image: base64, question };
    for (const got of [
      await post(answers, { inputs }),
      await post(answers, { inputs: { image: base64, text: question } }),
      await post(answers, inputs),
      await post(answers, chelsea, { path: `/?question=${encodeURIComponent(question)}` }),
    ]) {
      // The route answers in this shape.
      const [only, ...others] = readJson(got) as readonly { answer: string; score: number }[];
      expect(others).toEqual([]);
      expect(only?.answer).toBe(answer);
      expectClose([only?.score ?? Number.NaN], [score], TOLERANCE);
    }
  });

  test('of several candidates, the likeliest first', async () => {
    const parameters = { candidates: ['yes', 'no', 'black'], num_return_sequences: 3 };
    const inputs = { image: base64, question: 'is the cat black?' };
    const ranked = readJson(await post(answers, { inputs, parameters })) as readonly {
      answer: string;
      score: number;
    }[]; // The shape that the route answers with.
    expect(ranked.map(({ answer }) => answer).toSorted()).toEqual(['black', 'no', 'yes']);
    const scores = ranked.map(({ score }) => score);
    expect(scores).toEqual(scores.toSorted((one, other) => other - one));
  });

  test('needs a question', async () => {
    const { error } = expectError(await post(answers, { inputs: base64 }), 400, 'INVALID_INPUT');
    expect(error).toContain('question');
  });
});

describe('zero-shot classification', () => {
  const labels = ['dog', 'cat', 'rocket and the moon'];

  /** Labels with the scores that the KServe route computes for them in a template, largest first. */
  async function scores(server: RunningServer, output: string, template: string) {
    const texts = labels.map((label) => template.replace('{}', label));
    const { data } = outputOf(await infer(server, [image(), bytes('text', texts)], { outputs: [output] }), output);
    return labels
      .map((label, index) => ({ label, score: Number(data[index]) }))
      .toSorted((one, other) => other.score - one.score);
  }

  test("by CLIP, in transformers' template or another", async () => {
    const want = await scores(clip, 'probability', 'This is a photo of {}.');
    for (const body of [
      { inputs: base64, parameters: { candidate_labels: labels } },
      { inputs: base64, parameters: { candidate_labels: labels.join(', ') } },
      { inputs: { image: base64, candidate_labels: labels } },
      { inputs: { image: base64 }, candidate_labels: labels },
    ])
      expect(readJson(await post(clip, body))).toEqual(want);
    const path = `/?candidate_labels=${encodeURIComponent(labels.join(','))}`;
    expect(readJson(await post(clip, chelsea, { path }))).toEqual(want);
    const parameters = { candidate_labels: labels, hypothesis_template: 'a {}' };
    expect(readJson(await post(clip, { inputs: base64, parameters }))).toEqual(
      await scores(clip, 'probability', 'a {}'),
    );
  });

  test('by a retrieval model, whose scores do not sum to 1', async () => {
    const want = await scores(matches, 'match_probability', '{}');
    const parameters = { candidate_labels: labels, hypothesis_template: '{}' };
    expect(readJson(await post(matches, { inputs: base64, parameters }))).toEqual(want);
  });

  test('ignores empty labels and unknown parameters', async () => {
    const parameters = { candidate_labels: ` ${labels.join(',,')}, `, function_to_apply: 'softmax', normalize: true };
    const want = await scores(clip, 'probability', 'This is a photo of {}.');
    expect(readJson(await post(clip, { inputs: base64, parameters }))).toEqual(want);
  });

  test.each([
    [{ normalize: 'junk' }, 'normalize'],
    [{ hypothesis_template: 'a photo' }, 'hypothesis_template'],
    [{ candidates: [1] }, 'candidates'],
    [{ candidate_labels: ' , ' }, 'candidate_labels'],
  ])('refuses %j', async (wrong, name) => {
    const parameters = { candidate_labels: labels, ...wrong };
    const { error } = expectError(await post(clip, { inputs: base64, parameters }), 400, 'INVALID_INPUT');
    expect(error).toContain(name);
  });

  test('needs labels', async () => {
    for (const server of [clip, matches]) {
      const { error } = expectError(await post(server, { inputs: base64 }), 400, 'INVALID_INPUT');
      expect(error).toContain('candidate_labels');
      expectError(await post(server, { inputs: base64, parameters: { candidate_labels: [] } }), 400, 'INVALID_INPUT');
    }
  });
});

describe("Hugging Face's own client", () => {
  const client = new InferenceClient('no-token');
  /** The client asks again for ever while an answer is 503. */
  const options = { retry_on_error: false };
  const blob = () => new Blob([new Uint8Array(chelsea)], { type: 'image/png' });

  test('captions', async () => {
    const caption = await captionOf();
    for (const data of [blob(), new Blob([new Uint8Array(chelsea)])]) {
      const answer = await client.imageToText({ endpointUrl: captions.url, data }, options);
      expect(answer.generated_text).toBe(caption);
    }
    const answer = await client.imageToText({ endpointUrl: `${captions.url}/predict`, data: blob() }, options);
    expect(answer.generated_text).toBe(caption);
  });

  test('answers questions', async () => {
    const question = 'is the cat black?';
    const got = await client.visualQuestionAnswering(
      { endpointUrl: answers.url, inputs: { question, image: blob() } },
      options,
    );
    const { answer, score } = await scoredAnswer(question);
    expect(got.answer).toBe(answer);
    expectClose([got.score], [score], TOLERANCE);
  });

  test('classifies', async () => {
    const candidate_labels = ['dog', 'cat'];
    const parameters = { candidate_labels };
    const got = await client.zeroShotImageClassification(
      { endpointUrl: clip.url, inputs: { image: blob() }, parameters },
      options,
    );
    expect(got.map(({ label }) => label).toSorted()).toEqual(['cat', 'dog']);
    expectClose([got.reduce((sum, { score }) => sum + score, 0)], [1], TOLERANCE);
  });

  test('receives the message of an error', async () => {
    const data = new Blob([new Uint8Array(10)], { type: 'image/png' });
    await expect(client.imageToText({ endpointUrl: captions.url, data }, options)).rejects.toThrow();
  });
});

describe('refused is', () => {
  test('a request without a body', async () => {
    expectError(await post(captions, ''), 400, 'INVALID_REQUEST');
  });

  test.each([
    ['{'],
    ['{"inputs": 5}'],
    ['{"inputs": ["a"]}'],
    ['{"inputs": {"image": 5}}'],
    ['{"inputs": "a", "parameters": 5}'],
    ['{"inputs": "a", "parameters": {"generate_kwargs": 5}}'],
    ['{"inputs": "a", "parameters": {"candidate_labels": [5]}}'],
    ['{"inputs": "a", "parameters": {"text": 5}}'],
  ])('the JSON %s', async (body) => {
    expectError(await post(captions, body, { contentType: 'application/json' }), 400, 'INVALID_REQUEST');
    expectError(await post(captions, body), 400, 'INVALID_REQUEST');
  });

  test('JSON that is no object, and an image with the content type of JSON', async () => {
    for (const body of ['[]', '"text"', '5', chelsea])
      expectError(await post(captions, body, { contentType: 'application/json' }), 400, 'INVALID_REQUEST');
  });

  test('a request without an image, or with one that does not decode', async () => {
    expectError(await post(captions, {}), 400, 'INVALID_INPUT');
    expectError(await post(captions, { inputs: {} }), 400, 'INVALID_INPUT');
    expectError(await post(captions, { inputs: { image: null, text: 'a' } }), 400, 'INVALID_INPUT');
    expectError(await post(captions, 'no picture'), 400, 'IMAGE_UNSUPPORTED');
    expectError(await post(captions, '{"inputs": "a"}', { contentType: 'image/png' }), 400, 'IMAGE_UNSUPPORTED');
    expectError(await post(captions, chelsea.subarray(0, 5000)), 400, 'IMAGE_CORRUPT');
  });

  test('a URL that the guard blocks', async () => {
    expectError(await post(captions, { inputs: 'http://169.254.169.254/' }), 400, 'IMAGE_SOURCE_BLOCKED');
  });

  test('a parameter out of its range', async () => {
    expectError(await post(captions, { inputs: base64, parameters: { num_beams: 0 } }), 400, 'INVALID_INPUT');
    expectError(await post(captions, chelsea, { path: '/?num_beams=many' }), 400, 'INVALID_INPUT');
  });

  test('another method', async () => {
    expectError(await send(captions.url, { path: '/predict' }), 405, 'METHOD_NOT_ALLOWED');
    const answer = await send(captions.url, { method: 'PUT', path: '/' });
    expectError(answer, 405, 'METHOD_NOT_ALLOWED');
    expect(answer.headers['allow']).toBe('GET, HEAD, POST');
  });

  test('a request without a token, and a body that is too large', async () => {
    const guarded = await serverForTest({ apiTokens: ['secret'], maxBodyBytes: 1000 });
    expectError(await post(guarded, chelsea), 401, 'UNAUTHORIZED');
    const headers = { authorization: 'Bearer secret' };
    const answer = await send(guarded.url, { method: 'POST', path: '/', headers, body: chelsea });
    expectError(answer, 413, 'PAYLOAD_TOO_LARGE');
  });
});

describe('health', () => {
  test('is a text, or a page for a browser', async () => {
    for (const path of ['/', '/health']) {
      const answer = await send(captions.url, { path });
      expect(answer).toMatchObject({
        status: 200,
        text: 'Ok',
        headers: { 'content-type': 'text/plain; charset=utf-8' },
      });
    }
    const head = await send(captions.url, { method: 'HEAD' });
    expect(head).toMatchObject({ status: 200, text: '' });
  });

  test("is JSON for clients of KServe's first protocol that ask for it", async () => {
    const answer = await send(captions.url, { headers: { accept: 'application/json' } });
    expect(readJson(answer)).toEqual({ status: 'alive' });
  });

  test('is 503 before the model is loaded', async () => {
    const starting = await serverForTest({}, { initialize: false });
    expectError(await send(starting.url, { path: '/health' }), 503, 'NOT_READY');
    expect((await send(starting.url)).status).toBe(200);
    expectError(await post(starting, chelsea), 503, 'NOT_READY');
  });
});
