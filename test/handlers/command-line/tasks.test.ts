import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import Handler from '../../../app.ts';
import { shippedFile } from '../../../shipped-files.ts';
import { builtBundle } from '../../support/built-bundle.ts';
import { type Exit, runProgram } from '../../support/bundle.ts';
import { expectClose } from '../../support/close-to.ts';
import { checkpointFolder, imagePath } from '../../support/goldens.ts';
import { bytes, dataUri, type InferenceAnswer, outputOf, testSettings } from '../../support/server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

/** `invoke` with a checkpoint of each task. */

/** Tolerance: the bundle may compute with another number of threads than this process. */
const TOLERANCE = { absolute: 1e-5 };

const bundle = builtBundle();

type Name = Parameters<typeof checkpointFolder>[0];

const invoke = (name: Name, ...args: readonly string[]) =>
  runProgram(bundle, 'invoke.js', { args: ['--checkpoint', checkpointFolder(name), ...args] });

function readAnswer({ exitCode, stdout, stderr }: Exit): InferenceAnswer {
  expect({ exitCode, stdout }, stderr).toEqual({ exitCode: 0, stdout: expect.stringMatching(/^\{[^\n]*\}\n$/) });
  return JSON.parse(stdout);
}

function readError({ exitCode, stdout }: Exit): string {
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: expect.stringMatching(/^\{"error":[^\n]*\}\n$/) });
  return JSON.parse(stdout).error;
}

/** The answer of the handler in this process to the same request. */
async function infer(name: Name, inputs: object): Promise<InferenceAnswer['outputs']> {
  const model = new Handler(testSettings({ checkpoint: checkpointFolder(name) }));
  await model.initialize();
  const { outputs } = await model.inferTensors({ inputs });
  await model.finalize();
  return outputs;
}

function expectOutputs(answer: InferenceAnswer, wanted: InferenceAnswer['outputs']): void {
  expect(answer.outputs.map(({ name, shape }) => [name, shape])).toEqual(
    wanted.map(({ name, shape }) => [name, shape]),
  );
  for (const { name, datatype, data } of wanted) {
    const got = outputOf(answer, name).data;
    if (datatype === 'BYTES') expect(got).toEqual(data);
    else expectClose(got.map(Number), data.map(Number), TOLERANCE);
  }
}

const pictures = ['--img_url', imagePath('chelsea'), '--img_url', imagePath('rocket')];
const sources = [dataUri('chelsea'), dataUri('rocket')];

describe('BLIP-2', () => {
  test('has a caption, an answer, and an answer after others', async () => {
    const img_url = readFileSync(shippedFile('examples/apples-and-cat.png'));
    expectOutputs(readAnswer(await invoke('blip2-opt')), await infer('blip2-opt', { img_url }));
    const question = 'how many?';
    const context = ['is it day?', 'yes'];
    const options = ['--question', question, ...context.flatMap((text) => ['--context', text])];
    expectOutputs(
      readAnswer(await invoke('blip2-opt', ...options)),
      await infer('blip2-opt', { img_url, question, context }),
    );
    expect(readError(await invoke('blip2-opt', '--question', question, '--text', 'a'))).toMatch(/text or question/);
  });
});

describe('question answering', () => {
  test('--question asks about the shipped picture, or about another one', async () => {
    const shipped = await invoke('answers-float32', '--question', 'is the cat black?');
    const answer = readAnswer(shipped);
    expect(answer).toMatchObject({ model_name: 'question-answering', outputs: [{ name: 'answer', shape: [1] }] });
    expectOutputs(
      answer,
      await infer('answers-float32', {
        img_url: readFileSync(shippedFile('examples/apples-and-cat.png')),
        question: 'is the cat black?',
      }),
    );
    expect(shipped.stderr).toMatch(/; \d+ tokens, \d+ tokens\/s/);
    const other = readAnswer(await invoke('answers-float32', '--img_url', imagePath('rocket'), '--question', 'red'));
    expectOutputs(other, await infer('answers-float32', { img_url: sources[1], question: 'red' }));
  });

  test('several --question ask one question about each picture, or all about one', async () => {
    const questions = ['is the cat black?', 'what is in the picture?'];
    const options = questions.flatMap((question) => ['--question', question]);
    const both = readAnswer(await invoke('answers-float32', ...pictures, ...options));
    expectOutputs(both, await infer('answers-float32', { img_url: sources, question: questions }));
    const one = readAnswer(await invoke('answers-float32', ...pictures.slice(2), ...options));
    expectOutputs(one, await infer('answers-float32', { img_url: sources[1], question: questions }));
  });

  test('takes parameters and presets', async () => {
    const parameters = { preset: 'original-blip', num_return_sequences: 2 };
    const options = ['--question', 'red', '--parameters', JSON.stringify(parameters)];
    const answer = readAnswer(await invoke('answers-float32', ...pictures.slice(2), ...options));
    expectOutputs(answer, await infer('answers-float32', { img_url: sources[1], question: 'red', ...parameters }));
    expect(outputOf(answer, 'answer').shape).toEqual([1, 2]);
  });

  test('takes candidates from a request file', async () => {
    const request = {
      inputs: [
        bytes('img_url', sources),
        bytes('question', ['what is in the picture?']),
        bytes('candidates', ['black', 'city']),
      ],
      parameters: { num_return_sequences: 2 },
      outputs: [{ name: 'answer' }, { name: 'sequence_logprob' }],
    };
    const folder = temporaryFolder({ 'request.json': JSON.stringify(request) });
    const answer = readAnswer(await invoke('answers-float32', '--request', join(folder, 'request.json')));
    expect(answer.outputs.map(({ name, shape }) => [name, shape])).toEqual([
      ['answer', [2, 2]],
      ['sequence_logprob', [2, 2]],
    ]);
    expect(new Set(outputOf(answer, 'answer').data)).toEqual(new Set(['black', 'city']));
  });

  test('needs a question, and takes no text', async () => {
    expect(readError(await invoke('answers-float32'))).toMatch(/question/);
    expect(readError(await invoke('answers-float32', '--question', 'red', '--text', 'red'))).toMatch(
      /named img_url, question.*"text"/,
    );
    expect(readError(await invoke('answers-float32', '--question'))).toMatch(/--question.*--help/);
  });
});

describe('retrieval', () => {
  test('--text is compared with every picture', async () => {
    const exit = await invoke(
      'retrieval-wide-vision',
      ...pictures,
      '--text',
      'a cat',
      '--text',
      'a rocket',
      '--text',
      'x',
    );
    const answer = readAnswer(exit);
    expect(answer.model_name).toBe('retrieval');
    expect(outputOf(answer, 'match_probability').shape).toEqual([2, 3]);
    expectOutputs(answer, await infer('retrieval-wide-vision', { img_url: sources, text: ['a cat', 'a rocket', 'x'] }));
    expect(exit.stderr).not.toMatch(/tokens/);
  });

  test('takes its own parameter, and needs a text', async () => {
    const options = [...pictures, '--text', 'a cat', '--parameters', '{"rerank_top_k": 1}'];
    const answer = readAnswer(await invoke('retrieval-wide-vision', ...options));
    expect(outputOf(answer, 'match_probability').data.filter((value) => value === -1)).toHaveLength(1);
    expect(readError(await invoke('retrieval-wide-vision', ...pictures))).toMatch(/text/);
    expect(readError(await invoke('retrieval-wide-vision', '--question', 'red'))).toMatch(/"question"/);
  });
});

describe('CLIP', () => {
  test('--text is compared with every picture; without it pictures have embeddings', async () => {
    const exit = await invoke('clip-real-end', ...pictures, '--text', 'a cat', '--text', 'a rocket');
    const answer = readAnswer(exit);
    expect(answer.model_name).toBe('clip');
    expectOutputs(answer, await infer('clip-real-end', { img_url: sources, text: ['a cat', 'a rocket'] }));
    expect(outputOf(answer, 'probability').shape).toEqual([2, 2]);
    expect(exit.stderr).not.toMatch(/tokens/);
    const alone = readAnswer(await invoke('clip-real-end'));
    expectOutputs(
      alone,
      await infer('clip-real-end', { img_url: readFileSync(shippedFile('examples/apples-and-cat.png')) }),
    );
  });

  test('takes its own parameter, and a request of texts alone from a file', async () => {
    const answer = readAnswer(await invoke('clip-real-end', '--parameters', '{"normalize": true}'));
    const length = Math.hypot(...outputOf(answer, 'image_embeds').data.map(Number));
    expectClose([length], [1], TOLERANCE);
    const folder = temporaryFolder({ 'request.json': JSON.stringify({ inputs: [bytes('text', ['a cat', 'x'])] }) });
    const texts = readAnswer(await invoke('clip-real-end', '--request', join(folder, 'request.json')));
    expectOutputs(texts, await infer('clip-real-end', { text: ['a cat', 'x'] }));
  });
});

describe('captioning', () => {
  test('takes a preset, and no question', async () => {
    const parameters = { preset: 'original-blip' };
    const answer = readAnswer(await invoke('narrow-vision', ...pictures, '--parameters', JSON.stringify(parameters)));
    expectOutputs(answer, await infer('narrow-vision', { img_url: sources, ...parameters }));
    expect(readError(await invoke('narrow-vision', '--question', 'red'))).toMatch(/named img_url, text.*"question"/);
  });
});

test('an environment variable sets another image size', async () => {
  const variables = { BLIP_IMAGE_SIZE: '40', BLIP_CHECKPOINT: checkpointFolder('narrow-vision') };
  const resized = readAnswer(await runProgram(bundle, 'invoke.js', { variables }));
  expect(outputOf(resized, 'generated_output').data).not.toEqual(
    outputOf(readAnswer(await invoke('narrow-vision')), 'generated_output').data,
  );
  const wrong = await runProgram(bundle, 'invoke.js', { variables: { ...variables, BLIP_IMAGE_SIZE: '30' } });
  expect(readError(wrong)).toMatch(/BLIP_IMAGE_SIZE.*multiple of patch_size 8, got 30/);
});
