import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Model, startModel } from '../../pipeline/model.ts';
import { valuesOf } from '../support/answers.ts';
import { expectClose } from '../support/close-to.ts';
import { readGoldenJson } from '../support/goldens.ts';
import { testSettings } from '../support/server.ts';

/** The trained checkpoints that ship say of the pictures that ship what transformers says (make_scene_goldens.py). */

interface Asked {
  readonly picture: string;
  /** Prompt, question or text to compare with. */
  readonly text: string | null;
}

interface Generated extends Asked {
  readonly token_ids: readonly number[];
  readonly answer: string;
}

interface Goldens {
  readonly captions: readonly Generated[];
  readonly answers: readonly Generated[];
  readonly matches: readonly (Asked & Readonly<Record<'match_probability' | 'cosine_similarity', number>>)[];
  readonly similarities: readonly (Asked & Readonly<Record<'cosine_similarity', number>>)[];
}

/** Pixels are as Pillow's; what is left is the order of float32 sums. */
const COSINE_TOLERANCE = { absolute: 2e-3 };
/** As above, behind a softmax that is steep where the model is unsure. */
const PROBABILITY_TOLERANCE = { absolute: 1e-2 };

const { captions, answers, matches, similarities }: Goldens = readGoldenJson('scenes.json');
const root = fileURLToPath(new URL('../../', import.meta.url));
const picturesOf = (rows: readonly Asked[]) =>
  [...new Set(rows.map(({ picture }) => picture))].map((name) => readFileSync(`${root}examples/${name}.png`));
const textsOf = (rows: readonly Asked[]) => [...new Set(rows.flatMap(({ text }) => text ?? []))];

function running(checkpoint: string): () => Model {
  let model: Model | undefined;
  beforeAll(async () => {
    model = await startModel(testSettings({ checkpoint: `${root}checkpoints/${checkpoint}` }));
  });
  afterAll(() => model?.close());
  return () => {
    if (model === undefined) throw new Error('Expected a model, got none yet.');
    return model;
  };
}

describe('captions', () => {
  const model = running('scenes-captioning');
  test.each(captions)('$picture: $text', async (row) => {
    const inputs = { img_url: picturesOf([row]), ...(row.text === null ? {} : { text: [row.text] }) };
    const answer = await model().infer(inputs, ['generated_output', 'token_ids']);
    expect(valuesOf(answer, 'token_ids')).toEqual(row.token_ids);
    expect(valuesOf(answer, 'generated_output')).toEqual([row.answer]);
  });
});

describe('answers', () => {
  const model = running('scenes-question-answering');
  test.each(answers)('$picture: $text', async (row) => {
    const answer = await model().infer({ img_url: picturesOf([row]), question: textsOf([row]) }, [
      'answer',
      'token_ids',
    ]);
    expect(valuesOf(answer, 'token_ids')).toEqual(row.token_ids);
    expect(valuesOf(answer, 'answer')).toEqual([row.answer]);
  });
});

describe('matches', () => {
  const model = running('scenes-retrieval');
  test('every picture with every text', async () => {
    const inputs = { img_url: picturesOf(matches), text: textsOf(matches) };
    const answer = await model().infer(inputs, ['match_probability', 'cosine_similarity']);
    const of = (output: 'match_probability' | 'cosine_similarity') => matches.map((row) => row[output]);
    expectClose(valuesOf(answer, 'match_probability').map(Number), of('match_probability'), PROBABILITY_TOLERANCE);
    expectClose(valuesOf(answer, 'cosine_similarity').map(Number), of('cosine_similarity'), COSINE_TOLERANCE);
  });
});

describe('similarities by CLIP', () => {
  const model = running('scenes-clip');
  test('every picture with every text', async () => {
    const inputs = { img_url: picturesOf(similarities), text: textsOf(similarities) };
    const answer = await model().infer(inputs, ['cosine_similarity']);
    const wanted = similarities.map((row) => row.cosine_similarity);
    expectClose(valuesOf(answer, 'cosine_similarity').map(Number), wanted, COSINE_TOLERANCE);
  });
});
