import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import Handler, { settingsFromEnvironment } from '../../../app.ts';
import { shippedFile } from '../../../shipped-files.ts';
import { readPicture } from '../../support/pillow-outcomes.ts';
import { bytes, outputOf, readAnswer, send, startServerOfModels } from '../../support/server.ts';

/**
 * The checkpoints that ship describe the pictures that ship correctly. Swapped channels, a wrong mean or a wrong order of
 * outputs would show here. checkpoints/recipe/draw_examples.py drew the pictures.
 */

const root = fileURLToPath(new URL('../../../', import.meta.url));
const picture = (name: string) => readFileSync(`${root}examples/${name}.png`).toString('base64');

/** The background and the groups of each picture. A group has its count and, if its kind has several, its colour. */
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

const models = ['captioning', 'question-answering', 'retrieval', 'clip', 'blip-2'] as const;

let server: Awaited<ReturnType<typeof startServerOfModels>>;
beforeAll(async () => {
  const checkpoints = models.map((name) => ({ name, checkpoint: `${root}checkpoints/scenes-${name}` }));
  server = await startServerOfModels({ models: checkpoints });
  await Promise.all(server.models.map((model) => model.initialize()));
});
afterAll(() => server?.close());

/** One output of a model of the server. */
async function ask(
  model: (typeof models)[number],
  output: string,
  inputs: readonly object[],
): Promise<readonly unknown[]> {
  const body = JSON.stringify({ inputs, outputs: [{ name: output }] });
  const answer = await send(server.url, { method: 'POST', path: `/v2/models/${model}/infer`, body });
  return outputOf(readAnswer(answer), output).data;
}

async function caption(name: Picture, prompt: string): Promise<string> {
  const inputs = [bytes('img_url', [picture(name)]), ...(prompt === '' ? [] : [bytes('text', [prompt])])];
  return String((await ask('captioning', 'generated_output', inputs))[0]);
}

test('the handler without settings describes the picture that ships', async () => {
  const model = new Handler({ ...settingsFromEnvironment(), executionProvider: 'cpu' });
  await model.initialize();
  const { generated_output } = await model.infer({ img_url: readFileSync(shippedFile('examples/apples-and-cat.png')) });
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

  /** Pictures of public reports: test/fixtures/pictures. Each of them lost the cats before. */
  test.each(['plain.jpg', 'samsung-sos.jpg', 'junk-between.jpg', 'small.bmp', 'trans.gif'])('%s', async (file) => {
    const source = readPicture(file).toString('base64');
    const [text] = await ask('captioning', 'generated_output', [bytes('img_url', [source])]);
    expect(text).toBe('two cats on a yellow background');
  });

  test.each(prompts)('%s, prompted with "%s"', async (name, prompt) => {
    const answer = await caption(name, prompt);
    expect(answer.startsWith(prompt)).toBe(true);
    expectTrue(answer, name);
  });

  test('all pictures in one request, each with its prompt', async () => {
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
    const data = await ask('captioning', 'generated_output', inputs);
    for (const [index, [name]] of prompts.entries()) expectTrue(data[index], name);
  });

  test.each<[Picture, string, string]>([
    ['two-cats', 'how many cats are there?', 'two'],
    ['two-cats', 'is there a dog in the picture?', 'no'],
    ['apples-and-cat', 'what color are the apples?', 'red'],
    ['car-and-house', 'what color is the background?', 'green'],
    ['dog-and-balloons', 'what color are the balloons?', 'green'],
    ['rocket-and-star', 'is there a rocket?', 'yes'],
  ])('%s: %s %s', async (name, question, answer) => {
    const inputs = [bytes('img_url', [picture(name)]), bytes('question', [question])];
    expect(await ask('question-answering', 'answer', inputs)).toEqual([answer]);
  });

  test.each(Object.keys(truths) as Picture[])('BLIP-2 captions %s', async (name) => {
    const [text] = await ask('blip-2', 'generated_output', [bytes('img_url', [picture(name)])]);
    expectTrue(text, name);
  });

  test.each<[Picture, string, string]>([
    ['two-cats', 'how many cats are there?', 'two'],
    ['two-cats', 'is there a dog in the picture?', 'no'],
    ['dog-and-balloons', 'what color are the balloons?', 'green'],
    ['car-and-house', 'what is on the left?', 'car'],
    ['car-and-house', 'what is to the right of the car?', 'house'],
    ['rocket-and-star', 'what is at the top?', 'star'],
    ['rocket-and-star', 'is the rocket above the star?', 'no'],
    ['penguin-and-umbrella', 'is the penguin left of the umbrella?', 'yes'],
  ])('BLIP-2, %s: %s %s', async (name, question, answer) => {
    const inputs = [bytes('img_url', [picture(name)]), bytes('question', [question])];
    expect(await ask('blip-2', 'answer', inputs)).toEqual([answer]);
  });

  test('BLIP-2 reads earlier questions and answers before a question', async () => {
    const inputs = [
      bytes('img_url', [picture('car-and-house')]),
      bytes('context', ['what is on the left?', 'car']),
      bytes('question', ['what color is the car?']),
    ];
    expect(await ask('blip-2', 'answer', inputs)).toEqual(['red']);
  });

  /** Each picture with a true text and one that is wrong in one word. */
  const pairs: readonly (readonly [Picture, string, string])[] = [
    [
      'apples-and-cat',
      'two red apples and a cat on a blue background',
      'two green apples and a cat on a blue background',
    ],
    ['car-and-house', 'a red car and a house on a green background', 'a red car and a house on a purple background'],
    ['two-cats', 'two cats on a yellow background', 'a cat on a yellow background'],
    [
      'rocket-and-star',
      'a rocket and a yellow star on a black background',
      'a rocket and a yellow heart on a black background',
    ],
  ];

  test.each(pairs)('%s matches "%s" and not "%s"', async (name, right, wrong) => {
    const inputs = [bytes('img_url', [picture(name)]), bytes('text', [right, wrong])];
    const [match, mismatch] = (await ask('retrieval', 'match_probability', inputs)).map(Number);
    expect(match).toBeGreaterThan(0.5);
    expect(mismatch).toBeLessThan(0.5);
  });

  test('CLIP ranks the kind that a picture shows before all others', async () => {
    const kinds = ['an elephant', 'a penguin', 'a rocket', 'a house', 'a banana', 'a fish'];
    const rankOf = async (name: Picture) => {
      const inputs = [bytes('img_url', [picture(name)]), bytes('text', kinds)];
      const scores = (await ask('clip', 'cosine_similarity', inputs)).map(Number);
      return kinds[scores.indexOf(Math.max(...scores))];
    };
    expect(await rankOf('rocket-and-star')).toBe('a rocket');
    expect(await rankOf('car-and-house')).toBe('a house');
    expect(await rankOf('penguin-and-umbrella')).toBe('a penguin');
    expect(['an elephant', 'a banana']).toContain(await rankOf('elephant-and-bananas'));
  });
});
