import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { expectClose } from '../support/close-to.ts';
import {
  checkpointFolder,
  type GoldenPairs,
  imagePath,
  openGoldenTensors,
  readGoldenJson,
} from '../support/goldens.ts';
import { type InferAnswer, tensorsOf, typedBytes } from '../support/grpc.ts';
import { bytes, dataUri, expectError, outputOf, postInference, readAnswer, send } from '../support/server.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { serverForTest, withDoors } from '../support/with-server.ts';

/** The doors with a checkpoint of `Blip2ForImageTextRetrieval`. */

const checkpoint = checkpointFolder('blip2-itm');
const doors = withDoors({ checkpoint });

const path = '/v2/models/retrieval/infer';
const goldens = openGoldenTensors('blip2-itm');
const { images, texts } = readGoldenJson<GoldenPairs>('blip2-itm.json');
const pictures = images.map((image) => dataUri(image));
const words = texts.map(({ text }) => text);
const [queryCount = 0, length = 0] = goldens.floats('chelsea.image_embeds').shape;
/** A difference of one grey level in the resize moves the numbers. */
const TOLERANCE = { absolute: 5e-3 };
const everything = ['match_probability', 'cosine_similarity', 'image_embeds', 'text_embeds'];

const request = {
  inputs: [bytes('img_url', pictures), bytes('text', words)],
  outputs: everything.map((name) => ({ name })),
};

describe('over HTTP', () => {
  test('images and texts are compared as transformers compares them, with the shapes that the metadata has', async () => {
    const answer = readAnswer(await postInference(doors.url, request, { path }));
    const metadata = JSON.parse((await send(doors.url, { path: '/v2/models/retrieval' })).text);
    const shapes = answer.outputs.map(({ name, shape }) => [name, shape]);
    expect(shapes).toEqual([
      ['match_probability', [3, 4]],
      ['cosine_similarity', [3, 4]],
      ['image_embeds', [3, queryCount, length]],
      ['text_embeds', [4, length]],
    ]);
    for (const { name, shape } of answer.outputs) {
      const known = metadata.outputs.find((output: { readonly name: string }) => output.name === name);
      expect(known.shape, name).toEqual(shape.map(() => -1));
    }
    for (const name of ['match_probability', 'cosine_similarity'])
      expectClose(outputOf(answer, name).data.map(Number), goldens.floats(name).data, TOLERANCE);
  });

  test('an image that cannot be loaded fails alone', async () => {
    const inputs = [bytes('img_url', ['!', ...pictures]), bytes('text', words)];
    const answer = readAnswer(await postInference(doors.url, { ...request, inputs }, { path }));
    const whole = readAnswer(await postInference(doors.url, request, { path }));
    expect(outputOf(answer, 'image_embeds').shape).toEqual([4, queryCount, length]);
    const size = queryCount * length;
    const embeds = outputOf(answer, 'image_embeds').data.map(Number);
    expect(embeds.slice(0, size)).toEqual(Array(size).fill(0));
    expectClose(embeds.slice(size), outputOf(whole, 'image_embeds').data.map(Number), { absolute: 1e-5 });
  });

  test('labels of the Hugging Face door are scored by ITM', async () => {
    const parameters = { candidate_labels: words, hypothesis_template: '{}' };
    const inputs = readFileSync(imagePath('chelsea')).toString('base64');
    const { text } = await send(doors.url, {
      method: 'POST',
      path: '/',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ inputs, parameters }),
    });
    const scores: readonly { readonly label: string; readonly score: number }[] = JSON.parse(text);
    expect(scores.map(({ score }) => score)).toEqual(scores.map(({ score }) => score).toSorted((a, b) => b - a));
    const byLabel = new Map(scores.map(({ label, score }) => [label, score]));
    const golden = Array.from(goldens.floats('match_probability').data).slice(0, words.length);
    expectClose(
      words.map((word) => byLabel.get(word) ?? Number.NaN),
      golden,
      TOLERANCE,
    );
  });
});

test('over gRPC the same numbers come as over HTTP', async () => {
  const { outputs } = readAnswer(await postInference(doors.url, request, { path }));
  const answer = await doors.client.call<InferAnswer>('ModelInfer', {
    model_name: 'retrieval',
    inputs: [typedBytes('img_url', pictures), typedBytes('text', words)],
    outputs: everything.map((name) => ({ name })),
  });
  expect(tensorsOf(answer)).toEqual(outputs);
});

test('a text with the token of the image is refused where the tokenizer has one, as published ones have', async () => {
  const folder = join(temporaryFolder(), 'itm');
  cpSync(checkpoint, folder, { recursive: true });
  const file = join(folder, 'tokenizer.json');
  const definition = JSON.parse(readFileSync(file, 'utf8'));
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
  // One id above the rows of the embeddings.
  const token = { ...definition.added_tokens[0], id: config.qformer_config.vocab_size, content: '<image>' };
  writeFileSync(file, JSON.stringify({ ...definition, added_tokens: [...definition.added_tokens, token] }));
  const server = await serverForTest({ checkpoint: folder });
  const ask = (text: string) =>
    postInference(server.url, { inputs: [bytes('img_url', pictures.slice(0, 1)), bytes('text', [text])] }, { path });
  expectError(await ask('a cat <image>'), 400, 'INVALID_INPUT');
  expect(readAnswer(await ask('a cat')).outputs).toHaveLength(2);
});
