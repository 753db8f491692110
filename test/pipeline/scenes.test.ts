import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { quantizeCheckpoint } from '../../checkpoint/quantize/quantize-checkpoint.ts';
import type { TensorAnswer } from '../../pipeline/infer-request.ts';
import { type RunningModel, startModel } from '../../pipeline/model.ts';
import { valuesOf } from '../support/answers.ts';
import { expectClose } from '../support/close-to.ts';
import { readGoldenJson } from '../support/goldens.ts';
import { testSettings } from '../support/server.ts';

/**
 * The trained checkpoints that ship answer about the pictures that ship as transformers does (make_scene_goldens.py). The
 * int8 checkpoints made of them do so nearly always.
 */

interface Question {
  readonly picture: string;
  /** Prompt, question or text to compare with. */
  readonly text: string | null;
}

interface Generated extends Question {
  readonly token_ids: readonly number[];
  readonly answer: string;
}

interface Goldens {
  readonly captions: readonly Generated[];
  readonly answers: readonly Generated[];
  readonly blip2_captions: readonly Generated[];
  readonly blip2_answers: readonly Generated[];
  readonly matches: readonly (Question & Readonly<Record<'match_probability' | 'cosine_similarity', number>>)[];
  readonly similarities: readonly (Question & Readonly<Record<'cosine_similarity', number>>)[];
}

/** Pixels equal Pillow's, so that only the order of float32 sums differs. A softmax is steep where the model is unsure. */
const float = { form: 'as they ship', cosineTolerance: 2e-3, probabilityTolerance: 1e-2, differentTexts: 0 } as const;
/** Factors of 7 and 8 bits. */
const int8 = { form: 'int8', cosineTolerance: 3e-2, probabilityTolerance: 3e-2, differentTexts: 0.1 } as const;
/** The language model of BLIP-2 in 4 bits, all else in int8. */
const int4 = { form: '4 bits', differentTexts: 0.15 } as const;
type Form = typeof float | typeof int8 | typeof int4;

const { captions, answers, blip2_captions, blip2_answers, matches, similarities }: Goldens =
  readGoldenJson('scenes.json');
const root = fileURLToPath(new URL('../../', import.meta.url));
const picturesOf = (rows: readonly Question[]) =>
  [...new Set(rows.map(({ picture }) => picture))].map((name) => readFileSync(`${root}examples/${name}.png`));
const textsOf = (rows: readonly Question[]) => [...new Set(rows.flatMap(({ text }) => text ?? []))];

function running(name: string, form: Form): () => RunningModel {
  let model: RunningModel | undefined;
  const temporary = mkdtempSync(join(tmpdir(), 'blip-handler-test-'));
  beforeAll(async () => {
    const shipped = `${root}checkpoints/${name}`;
    const checkpoint = form === float ? shipped : join(temporary, name);
    if (form !== float)
      await quantizeCheckpoint(shipped, checkpoint, { languageModelBits: form === int4 ? 4 : undefined });
    model = await startModel(testSettings({ checkpoint }));
  });
  afterAll(async () => {
    await model?.close();
    rmSync(temporary, { recursive: true, force: true });
  });
  return () => {
    if (model === undefined) throw new Error('Expected a model, got none yet.');
    return model;
  };
}

/** The rows whose tokens or words differ from transformers'. */
async function different(
  rows: readonly Generated[],
  output: 'generated_output' | 'answer',
  ask: (row: Generated) => Promise<TensorAnswer>,
) {
  const differences: object[] = [];
  for (const row of rows) {
    const answer = await ask(row);
    const actual = { token_ids: valuesOf(answer, 'token_ids'), texts: valuesOf(answer, output) };
    const wanted = { token_ids: row.token_ids, texts: [row.answer] };
    if (!isDeepStrictEqual(actual, wanted)) differences.push({ ...row, actual });
  }
  return differences;
}

describe.each([float, int8])('$form', (form) => {
  describe('captions', () => {
    const model = running('scenes-captioning', form);
    test('of every picture with every prompt', async () => {
      const differences = await different(captions, 'generated_output', async (row) => {
        const text = row.text === null ? {} : { text: [row.text] };
        return await model().infer({
          inputs: { img_url: picturesOf([row]), ...text },
          outputs: ['generated_output', 'token_ids'],
        });
      });
      expect(differences.length / captions.length, JSON.stringify(differences)).toBeLessThanOrEqual(
        form.differentTexts,
      );
    });
  });

  describe('answers', () => {
    const model = running('scenes-question-answering', form);
    test('to every question', async () => {
      const differences = await different(answers, 'answer', async (row) => {
        return await model().infer({
          inputs: { img_url: picturesOf([row]), question: textsOf([row]) },
          outputs: ['answer', 'token_ids'],
        });
      });
      expect(differences.length / answers.length, JSON.stringify(differences)).toBeLessThanOrEqual(form.differentTexts);
    });
  });

  describe('matches', () => {
    const model = running('scenes-retrieval', form);
    test('every picture with every text', async () => {
      const inputs = { img_url: picturesOf(matches), text: textsOf(matches) };
      const answer = await model().infer({ inputs, outputs: ['match_probability', 'cosine_similarity'] });
      const of = (output: 'match_probability' | 'cosine_similarity') => matches.map((row) => row[output]);
      expectClose(valuesOf(answer, 'match_probability').map(Number), of('match_probability'), {
        absolute: form.probabilityTolerance,
      });
      expectClose(valuesOf(answer, 'cosine_similarity').map(Number), of('cosine_similarity'), {
        absolute: form.cosineTolerance,
      });
    });
  });

  describe('similarities by CLIP', () => {
    const model = running('scenes-clip', form);
    test('every picture with every text', async () => {
      const inputs = { img_url: picturesOf(similarities), text: textsOf(similarities) };
      const answer = await model().infer({ inputs, outputs: ['cosine_similarity'] });
      const wanted = similarities.map((row) => row.cosine_similarity);
      expectClose(valuesOf(answer, 'cosine_similarity').map(Number), wanted, { absolute: form.cosineTolerance });
    });
  });
});

describe.each([float, int8, int4])('BLIP-2, $form', (form) => {
  const model = running('scenes-blip-2', form);

  test('captions every picture, with and without a text to continue', async () => {
    const differences = await different(blip2_captions, 'generated_output', async (row) => {
      const text = row.text === null ? {} : { text: [row.text] };
      const inputs = { img_url: picturesOf([row]), ...text };
      return await model().infer({ inputs, outputs: ['generated_output', 'token_ids'] });
    });
    const share = differences.length / blip2_captions.length;
    expect(share, JSON.stringify(differences)).toBeLessThanOrEqual(form.differentTexts);
  });

  test('answers every question, and where things are', async () => {
    const differences = await different(blip2_answers, 'answer', async (row) => {
      const inputs = { img_url: picturesOf([row]), question: textsOf([row]) };
      return await model().infer({ inputs, outputs: ['answer', 'token_ids'] });
    });
    const share = differences.length / blip2_answers.length;
    expect(share, JSON.stringify(differences)).toBeLessThanOrEqual(form.differentTexts);
  });
});

test('captions are as good without tokenizer.json', async () => {
  const [shipped, checkpoint] = [
    `${root}checkpoints/scenes-captioning`,
    mkdtempSync(join(tmpdir(), 'blip-handler-test-')),
  ];
  onTestFinished(() => rmSync(checkpoint, { recursive: true, force: true }));
  for (const name of readdirSync(shipped))
    if (name !== 'tokenizer.json') symlinkSync(join(shipped, name), join(checkpoint, name));
  const notices: string[] = [];
  const model = await startModel(testSettings({ checkpoint }), { onNotice: (line) => notices.push(line) });
  onTestFinished(() => model.close());
  for (const row of captions.slice(0, 6)) {
    const text = row.text === null ? {} : { text: [row.text] };
    const answer = await model.infer({ inputs: { img_url: picturesOf([row]), ...text } });
    expect(valuesOf(answer, 'generated_output')).toEqual([row.answer]);
  }
  expect(notices.join('\n')).not.toContain('vocab.txt');
});
