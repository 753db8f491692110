import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Model, startModel } from '../../pipeline/model.ts';
import { readGoldenJson } from '../support/goldens.ts';
import { testSettings } from '../support/server.ts';

/** The trained checkpoint that ships says of the pictures that ship what transformers says (make_scene_goldens.py). */

interface Goldens {
  readonly captions: readonly {
    readonly picture: string;
    /** The prompt. */
    readonly text: string | null;
    readonly token_ids: readonly number[];
    readonly answer: string;
  }[];
}

const { captions }: Goldens = readGoldenJson('scenes.json');
const root = fileURLToPath(new URL('../../', import.meta.url));

let model: Model;
beforeAll(async () => {
  model = await startModel(testSettings({ checkpoint: `${root}checkpoints/scenes-captioning` }));
});
afterAll(() => model?.close());

test.each(captions)('$picture: $text', async ({ picture, text, token_ids, answer }) => {
  const image = new Uint8Array(readFileSync(`${root}examples/${picture}.png`));
  const inputs = { img_url: [image], ...(text === null ? {} : { text: [text] }) };
  const [caption, tokens] = (await model.infer(inputs, ['generated_output', 'token_ids'])).outputs;
  expect(tokens?.data).toEqual(token_ids);
  expect(caption?.data).toEqual([answer]);
});
