import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import Handler from '../../../app.ts';
import {
  type GenerationInputs,
  type GenerationSettings,
  newTokenLimit,
  resolveGenerationSettings,
} from '../../../pipeline/tasks/generation-settings.ts';
import { presetFor, presets } from '../../../pipeline/tasks/presets.ts';
import type { NamedTensor } from '../../../protocol/named-tensor.ts';
import { expectClose } from '../../support/close-to.ts';
import { checkpointFolder, type GoldenSequence } from '../../support/goldens.ts';
import { readGoldenPresets } from '../../support/preset-goldens.ts';
import {
  bytes,
  dataUri,
  expectError,
  postInference,
  startServer,
  type TestSettings,
  testSettings,
} from '../../support/server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { expectHandlerError } from '../../support/thrown.ts';

/** From image files to log-probabilities. A difference of one grey level in the resize moves them. */
const LOGPROB_TOLERANCE = { absolute: 5e-3 };
const SCORE_TOLERANCE = { absolute: 5e-3, relative: 1e-3 };

const goldens = readGoldenPresets();

describe('which settings result', () => {
  const resolve = (
    task: keyof typeof presets,
    name: keyof (typeof presets)['captioning'],
    inputs: GenerationInputs = {},
    checkpoint: Parameters<typeof resolveGenerationSettings>[1] = {},
  ) => resolveGenerationSettings(inputs, checkpoint, presets[task][name].settings);

  /** The least and the most tokens that may follow a prompt of this length. */
  const limits = ({ minNewTokens, maxNewTokens }: GenerationSettings, inputLength: number) => [
    newTokenLimit(minNewTokens, inputLength),
    newTokenLimit(maxNewTokens, inputLength),
  ];

  describe.each(['captioning', 'question-answering'] as const)('of %s', (task) => {
    test('hf sets nothing itself', () => {
      const checkpoint = { num_beams: 5, max_length: 30, min_length: 4, top_p: 0.8, do_sample: true };
      expect(resolve(task, 'hf')).toEqual(resolveGenerationSettings({}, {}));
      expect(resolve(task, 'hf', { top_k: 7 }, checkpoint)).toEqual(
        resolveGenerationSettings({ top_k: 7 }, checkpoint),
      );
    });

    test('bentoblip sets lengths, which do not count the prompt, and nothing else', () => {
      const { minNewTokens, maxNewTokens, ...rest } = resolve(task, 'bentoblip');
      const { minNewTokens: _, maxNewTokens: __, ...usual } = resolveGenerationSettings({}, {});
      expect(rest).toEqual(usual);
      for (const inputLength of [1, 5])
        expect(limits({ ...rest, minNewTokens, maxNewTokens }, inputLength)).toEqual([20, 100]);
    });

    test.each(['bentoblip', 'original-blip'] as const)('a preset comes before the checkpoint: %s', (name) => {
      const checkpoint = { max_new_tokens: 33, min_new_tokens: 7, max_length: 44, min_length: 8 };
      expect(limits(resolve(task, name, {}, checkpoint), 3)).toEqual(limits(resolve(task, name), 3));
      expect(resolve(task, 'original-blip', {}, { num_beams: 5 }).shared.num_beams).toBe(3);
      expect(resolve(task, 'bentoblip', {}, { num_beams: 5 }).shared.num_beams).toBe(5);
    });

    test.each(['bentoblip', 'original-blip'] as const)('the request comes before its preset: %s', (name) => {
      const settings = resolve(task, name, { num_beams: 2, max_new_tokens: 9, min_new_tokens: 6 }, { num_beams: 5 });
      expect(settings.shared.num_beams).toBe(2);
      for (const inputLength of [1, 5]) expect(limits(settings, inputLength)).toEqual([6, 9]);
      expect(limits(resolve(task, name, { min_new_tokens: 0 }), 1)[0]).toBe(0);
    });

    test.each(['bentoblip', 'original-blip'] as const)(
      'a setting that %s leaves open comes from the checkpoint',
      (name) => {
        const checkpoint = {
          length_penalty: 0.5,
          repetition_penalty: 1.2,
          no_repeat_ngram_size: 2,
          early_stopping: true,
        };
        expect(resolve(task, name, { no_repeat_ngram_size: 3 }, checkpoint)).toMatchObject({
          shared: {
            length_penalty: 0.5,
            repetition_penalty: 1.2,
            no_repeat_ngram_size: 3,
            early_stopping: 1,
            do_sample: false,
          },
        });
      },
    );

    test('the beams of original-blip allow as many texts, and no more', () => {
      expect(resolve(task, 'original-blip', { num_return_sequences: 3 }).shared.num_return_sequences).toBe(3);
      expect(() => resolve(task, 'original-blip', { num_return_sequences: 4 })).toThrow(/at most num_beams 3, got 4/);
    });
  });

  describe('of a service whose preset the request does not name', () => {
    const limitsOf = { maxBeams: 2, maxNewTokens: undefined };

    test('are that preset, within what the service and the model allow', () => {
      const { settings } = presetFor('captioning', undefined, { preset: 'original-blip', ...limitsOf });
      const resolved = resolveGenerationSettings({}, { num_beams: 5, max_new_tokens: 40 }, settings, limitsOf);
      expect(resolved.shared.num_beams).toBe(2);
      expect(newTokenLimit(resolved.maxNewTokens, 1)).toBe(19);
      expect(newTokenLimit(resolved.maxNewTokens, 1, 10)).toBe(10);
    });

    test('are those of the preset that the request names, which is not lowered', () => {
      expect(presetFor('captioning', 'hf', { preset: 'bentoblip', ...limitsOf })).toEqual(presets.captioning.hf);
      const { settings } = presetFor('captioning', 'original-blip', { preset: 'hf', ...limitsOf });
      expect(() => resolveGenerationSettings({}, {}, settings, limitsOf)).toThrow(/num_beams to be at most 2/);
    });

    test('are the usual ones where the task does not know it', () => {
      expect(presetFor('captioning', undefined, { preset: 'vqa', ...limitsOf })).toEqual(presets.captioning.hf);
    });
  });

  test('original-blip has 3 beams, and lengths that count the prompt: of captions, and of answers', () => {
    const captions = resolve('captioning', 'original-blip');
    expect(captions.shared.num_beams).toBe(3);
    expect([limits(captions, 1), limits(captions, 4), limits(captions, 20)]).toEqual([
      [4, 19],
      [1, 16],
      [0, 0],
    ]);
    const answers = resolve('question-answering', 'original-blip');
    expect([answers.shared.num_beams, limits(answers, 1)]).toEqual([3, [0, 9]]);
  });

  test('questions start with [ENC] in original-blip alone', () => {
    const starts = Object.values(presets).map((ofTask) =>
      Object.entries(ofTask).map(([name, { questionStart }]) => [name, questionStart]),
    );
    const usual = { hf: '[CLS]', bentoblip: '[CLS]' };
    expect(starts.map((ofTask) => Object.fromEntries(ofTask))).toEqual([
      { ...usual, 'original-blip': '[CLS]' },
      { ...usual, 'original-blip': '[ENC]' },
    ]);
  });
});

const outputNames = ['token_ids', 'token_logprobs', 'sequence_score'];

interface Row {
  readonly tokenIds: readonly number[];
  readonly tokenLogprobs: readonly number[];
  readonly score: number;
}

/** The generated tokens of each item, one text each, without padding. */
function rowsOf([ids, logprobs, scores]: readonly NamedTensor[]): readonly Row[] {
  const length = ids?.shape.at(-1) ?? 0;
  return (scores?.data ?? []).map((score, index) => {
    const row = (tensor: NamedTensor | undefined) =>
      (tensor?.data ?? []).slice(index * length, (index + 1) * length).map(Number);
    const end = row(ids).findLastIndex((id) => id !== 0) + 1;
    return { tokenIds: row(ids).slice(0, end), tokenLogprobs: row(logprobs).slice(0, end), score: Number(score) };
  });
}

function expectGolden(rows: readonly Row[], wanted: readonly (readonly GoldenSequence[])[]): void {
  expect(rows.map(({ tokenIds }) => tokenIds)).toEqual(wanted.map(([sequence]) => sequence?.token_ids));
  for (const [index, [golden]] of wanted.entries()) {
    const { tokenLogprobs = [], score = Number.NaN } = rows[index] ?? {};
    const wantedLogprobs = golden?.token_logprobs ?? [];
    expectClose(tokenLogprobs.slice(-wantedLogprobs.length), wantedLogprobs, LOGPROB_TOLERANCE);
    if (golden?.score !== undefined) expectClose([score], [golden.score], SCORE_TOLERANCE);
  }
}

/** Compares rows of different batches, which are rounded differently. */
function expectSame(rows: readonly Row[], wanted: readonly Row[]): void {
  expect(rows.map(({ tokenIds }) => tokenIds)).toEqual(wanted.map(({ tokenIds }) => tokenIds));
  for (const [index, { tokenLogprobs }] of wanted.entries())
    expectClose(rows[index]?.tokenLogprobs ?? [], tokenLogprobs, { absolute: 1e-4 });
}

async function load(folder: string, settings: Partial<TestSettings> = {}): Promise<Handler> {
  const model = new Handler(testSettings({ checkpoint: folder, ...settings }));
  await model.initialize();
  return model;
}

describe('captions', () => {
  const { captions } = goldens;
  let model: Handler;
  beforeAll(async () => {
    model = await load(checkpointFolder('narrow-vision'));
  });
  afterAll(() => model?.finalize());

  async function caption(inputs: object): Promise<readonly Row[]> {
    const asked = {
      img_url: captions.map(({ image }) => dataUri(image)),
      text: captions.map(({ prompt }) => prompt ?? ''),
    };
    return rowsOf((await model.inferTensors({ inputs: { ...asked, ...inputs }, outputs: outputNames })).outputs);
  }

  test('of original-blip are those that transformers generates with its parameters', async () => {
    const wanted = captions.map(({ original }) => original);
    expectGolden(await caption({ preset: 'original-blip' }), wanted);
    // Its lengths count the prompt.
    expect(Math.max(...wanted.map(([sequence]) => sequence?.token_ids.length ?? 0))).toBe(20);
  });

  test('of bentoblip too, with fewer tokens, as the small checkpoint has few positions', async () => {
    expectGolden(
      await caption({ preset: 'bentoblip', max_new_tokens: 30 }),
      captions.map(({ bentoblip }) => bentoblip),
    );
    const error = await expectHandlerError(caption({ preset: 'bentoblip' }), 'PROMPT_TOO_LONG');
    expect(error.message).toMatch(/and the new tokens to fit 48 positions, got 1 and 100/);
  });

  test('of hf are those without a preset, and other ones', async () => {
    const usual = await caption({});
    expectSame(await caption({ preset: 'hf' }), usual);
    const original = await caption({ preset: 'original-blip' });
    expect(original.map(({ tokenIds }) => tokenIds)).not.toEqual(usual.map(({ tokenIds }) => tokenIds));
  });

  test('of bentoblip have as many tokens as the request allows, where the preset would have more', async () => {
    const rows = await caption({ preset: 'bentoblip', max_new_tokens: 6, text: '' });
    expect(rows.map(({ tokenIds }) => tokenIds.length)).toEqual(captions.map(() => 7));
  });

  test('of a service are those of its preset, unless the request names one', async () => {
    const service = await load(checkpointFolder('narrow-vision'), { preset: 'bentoblip' });
    const ask = async (inputs: object) =>
      rowsOf(
        (
          await service.inferTensors({
            inputs: {
              img_url: captions.map(({ image }) => dataUri(image)),
              text: captions.map(({ prompt }) => prompt ?? ''),
              ...inputs,
            },
            outputs: outputNames,
          })
        ).outputs,
      );
    try {
      expectGolden(
        await ask({ max_new_tokens: 30 }),
        captions.map(({ bentoblip }) => bentoblip),
      );
      expectSame(await ask({ preset: 'hf' }), await caption({}));
      // The model has fewer positions than the preset's 100 tokens need: its texts end there, and are no errors.
      const lengths = (await ask({ text: '' })).map(({ tokenIds }) => tokenIds.length);
      expect(Math.min(...lengths)).toBeGreaterThanOrEqual(21);
      expect(Math.max(...lengths)).toBeLessThanOrEqual(49);
    } finally {
      await service.finalize();
    }
  });

  test('of all presets at once are those of each', async () => {
    const [original, hf, bentoblip] = await Promise.all([
      caption({ preset: 'original-blip' }),
      caption({ preset: 'hf' }),
      caption({ preset: 'bentoblip', max_new_tokens: 30 }),
    ]);
    expectGolden(
      original,
      captions.map(({ original: wanted }) => wanted),
    );
    expectGolden(
      bentoblip,
      captions.map(({ bentoblip: wanted }) => wanted),
    );
    expectSame(hf, await caption({}));
  });
});

describe('answers', () => {
  const { answers } = goldens;
  /** The parameters of original-blip under hf. */
  const spelledOut = { preset: 'hf', num_beams: 3, max_new_tokens: 9, min_new_tokens: 0 };
  let model: Handler;
  beforeAll(async () => {
    model = await load(checkpointFolder('answers-float32'));
  });
  afterAll(() => model?.finalize());

  async function answer(inputs: object, rows = answers): Promise<readonly Row[]> {
    const asked = { img_url: rows.map(({ image }) => dataUri(image)), question: rows.map(({ question }) => question) };
    return rowsOf((await model.inferTensors({ inputs: { ...asked, ...inputs }, outputs: outputNames })).outputs);
  }

  test('of original-blip are to questions that start with [ENC]', async () => {
    expectGolden(
      await answer({ preset: 'original-blip' }),
      answers.map(({ original }) => original),
    );
  });

  test('of hf with the same parameters are to questions that start with [CLS]', async () => {
    expectGolden(
      await answer(spelledOut),
      answers.map(({ with_cls: wanted }) => wanted),
    );
  });

  test('of the two presets in one batch are those of each', async () => {
    const requests = answers.map(
      async (row) => await Promise.all([answer({ preset: 'original-blip' }, [row]), answer(spelledOut, [row])]),
    );
    const rows = await Promise.all(requests);
    expectGolden(
      rows.flatMap(([original]) => original),
      answers.map(({ original }) => original),
    );
    expectGolden(
      rows.flatMap(([, usual]) => usual),
      answers.map(({ with_cls: wanted }) => wanted),
    );
  });

  test('a checkpoint whose vocabulary ends with [DEC] has no [ENC]', async () => {
    const folder = temporaryFolder();
    cpSync(checkpointFolder('answers-float32'), folder, { recursive: true });
    const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
    config.text_config.bos_token_id = config.text_config.vocab_size - 1;
    writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
    const other = await load(folder);
    const asked = { img_url: dataUri('small'), question: 'red' };
    const error = await expectHandlerError(
      other.inferTensors({ inputs: { ...asked, preset: 'original-blip' } }),
      'INVALID_PARAMETER',
    );
    expect(error.message).toContain('[ENC]');
    expect((await other.inferTensors({ inputs: asked })).outputs).toHaveLength(1);
    await other.finalize();
  });
});

describe('a preset that nobody knows', () => {
  test.each([
    ['captioning', 'narrow-vision', []],
    ['question-answering', 'answers-float32', [bytes('question', ['red'])]],
  ] as const)('is refused: %s', async (task, checkpoint, inputs) => {
    const server = await startServer({ checkpoint: checkpointFolder(checkpoint) });
    const image = bytes('img_url', [dataUri('small')]);
    for (const preset of ['other', '', 'HF', 1, true, 'toString']) {
      const answer = await postInference(
        server.url,
        { inputs: [image, ...inputs], parameters: { preset } },
        { path: `/v2/models/${task}/infer` },
      );
      const { error } = expectError(answer, 400, 'INVALID_INPUT');
      expect(error).toMatch(/Expected preset to be one of hf, bentoblip, original-blip/);
    }
    await server.close();
  });

  test.each(['retrieval-wide-vision', 'clip-real-end'] as const)(
    'is any one where nothing is generated: %s',
    async (name) => {
      const model = await load(checkpointFolder(name));
      const inputs = { img_url: dataUri('small'), text: 'red', preset: 'hf' };
      await expectHandlerError(model.inferTensors({ inputs }), 'INVALID_INPUT');
      await model.finalize();
    },
  );
});
