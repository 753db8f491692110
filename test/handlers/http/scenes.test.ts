import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import InferlessModel, { settingsFromEnvironment, shippedPicture } from '../../../app.ts';
import { bytes, outputOf, postInference, type RunningServer, readAnswer, startServer } from '../../support/server.ts';

/**
 * What ships says something true: swapped channels, a wrong mean or a wrong order of anything would show here. The truth
 * is what checkpoints/recipe/draw_examples.py drew.
 */

const root = fileURLToPath(new URL('../../../', import.meta.url));
const picture = (name: string) => readFileSync(`${root}examples/${name}.png`).toString('base64');

/** Groups in any order; each with its count and, where its kind has several, its colour. */
const truths = {
  'apples-and-cat': ['blue', 'two red apples', 'a cat'],
  'car-and-house': ['green', 'a red car', 'a house'],
  'dog-and-balloons': ['purple', 'a dog', 'three green balloons'],
  'elephant-and-bananas': ['pink', 'an elephant', 'two bananas'],
  'penguin-and-umbrella': ['white', 'a penguin', 'a pink umbrella'],
  'rocket-and-star': ['black', 'a rocket', 'a yellow star'],
  'two-cats': ['yellow', 'two cats'],
} as const;

type Picture = keyof typeof truths;

const opening = /^(?:a (?:picture|photo|photography) of|there (?:is|are)) /;

/** Background and groups that a caption names, sorted. WordPiece puts a space before each comma. */
function claims(caption: string): readonly string[] {
  const [, listed = '', background = ''] = /^(.*) on an? (\w+) background$/.exec(caption.replace(opening, '')) ?? [];
  return [...listed.split(/ ?, | and /), background].sort();
}

function expectTrue(caption: unknown, name: Picture): void {
  expect(claims(String(caption)), String(caption)).toEqual([...truths[name]].sort());
}

let server: RunningServer;
beforeAll(async () => {
  server = await startServer({ checkpoint: `${root}checkpoints/scenes-captioning` });
});
afterAll(() => server?.close());

async function caption(name: Picture, prompt: string): Promise<string> {
  const inputs = [bytes('img_url', [picture(name)]), ...(prompt === '' ? [] : [bytes('text', [prompt])])];
  return String(outputOf(readAnswer(await postInference(server.url, { inputs })), 'generated_output').data[0]);
}

test('by default the handler says something true about the picture that ships', async () => {
  const model = new InferlessModel({ ...settingsFromEnvironment(), executionProvider: 'cpu' });
  await model.initialize();
  const { generated_output } = await model.infer({ img_url: readFileSync(shippedPicture) });
  expectTrue(generated_output, 'apples-and-cat');
  await model.finalize();
});

describe('over HTTP', () => {
  const prompts: readonly (readonly [Picture, string])[] = [
    ['car-and-house', 'a picture of'],
    ['dog-and-balloons', ''],
    ['elephant-and-bananas', 'a photography of'],
    ['penguin-and-umbrella', 'there is'],
    ['rocket-and-star', 'a photo of'],
    ['two-cats', 'a picture of two'],
  ];

  test.each(prompts)('%s, prompted with "%s"', async (name, prompt) => {
    const answer = await caption(name, prompt);
    expect(answer.startsWith(prompt)).toBe(true);
    expectTrue(answer, name);
  });

  test('all in one request, each with its prompt', async () => {
    const inputs = [
      bytes(
        'img_url',
        prompts.map(([name]) => picture(name)),
      ),
      bytes(
        'text',
        prompts.map(([, prompt]) => prompt),
      ),
    ];
    const { data } = outputOf(readAnswer(await postInference(server.url, { inputs })), 'generated_output');
    for (const [index, [name]] of prompts.entries()) expectTrue(data[index], name);
  });
});
