import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import Handler from '../../../app.ts';
import type { TensorAnswer } from '../../../pipeline/infer-request.ts';
import type { NamedTensor } from '../../../protocol/named-tensor.ts';
import { expectClose } from '../../support/close-to.ts';
import { checkpointFolder } from '../../support/goldens.ts';
import { type GoldenCandidate, type GoldenRanking, readGoldenPresets } from '../../support/preset-goldens.ts';
import { dataUri, testSettings } from '../../support/server.ts';
import { expectHandlerError } from '../../support/thrown.ts';

/** From image files to ranked answers. A few resized pixels differ by a grey level. */
const GREY_LEVEL_TOLERANCE = { absolute: 5e-3, relative: 1e-3 };
/** Tolerance of numbers that are computed in another batch. */
const BATCH_TOLERANCE = { absolute: 1e-4, relative: 1e-5 };

const { rankings } = readGoldenPresets();
const texts = rankings[0]?.candidates.map(({ text }) => text) ?? [];
let model: Handler;

beforeAll(async () => {
  model = new Handler(testSettings({ checkpoint: checkpointFolder('answers-float32') }));
  await model.initialize();
});

afterAll(() => model?.finalize());

const outputNames = [
  'answer',
  'sequence_score',
  'token_ids',
  'token_logprobs',
  'sequence_logprob',
  'mean_token_logprob',
];

function inputsOf(rows: readonly GoldenRanking[] = rankings): object {
  return { img_url: rows.map(({ image }) => dataUri(image)), question: rows.map(({ question }) => question) };
}

async function ask(inputs: object, outputs = outputNames): Promise<TensorAnswer> {
  return await model.inferTensors({ inputs, outputs });
}

function tensorOf({ outputs }: TensorAnswer, name: string): NamedTensor {
  const tensor = outputs.find((output) => output.name === name);
  if (tensor === undefined) throw new Error(`Expected output ${name}.`);
  return tensor;
}

const dataOf = (answer: TensorAnswer, name: string) => tensorOf(answer, name).data;
const numbersOf = (answer: TensorAnswer, name: string) => dataOf(answer, name).map(Number);
const sumOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);

/** The likeliest first. */
function ranked(candidates: readonly GoldenCandidate[]): readonly GoldenCandidate[] {
  return candidates.toSorted((a, b) => a.negative_log_likelihood - b.negative_log_likelihood);
}

const scoresOf = (candidates: readonly GoldenCandidate[]) =>
  candidates.map((candidate) => -candidate.negative_log_likelihood);

describe('of candidates', () => {
  test('the likeliest is the answer, and another to another question', async () => {
    const answer = await ask({ ...inputsOf(), candidates: texts });
    const best = rankings.flatMap(({ candidates }) => ranked(candidates).slice(0, 1));
    expect(tensorOf(answer, 'answer')).toMatchObject({ shape: [2], data: ['black', 'city'] });
    expectClose(numbersOf(answer, 'sequence_score'), scoresOf(best), GREY_LEVEL_TOLERANCE);
  });

  test.each([2, 4])('%d are returned ranked, with their log-likelihoods', async (count) => {
    const answer = await ask({ ...inputsOf(), candidates: texts, num_return_sequences: count });
    const wanted = rankings.flatMap(({ candidates }) => ranked(candidates).slice(0, count));
    expect(tensorOf(answer, 'answer')).toMatchObject({ shape: [2, count], data: wanted.map(({ text }) => text) });
    expect(tensorOf(answer, 'sequence_score').shape).toEqual([2, count]);
    expectClose(numbersOf(answer, 'sequence_score'), scoresOf(wanted), GREY_LEVEL_TOLERANCE);
  });

  test('the tokens are those of the candidate, with their log-probabilities', async () => {
    const answer = await ask({ ...inputsOf(), candidates: texts, num_return_sequences: 4 });
    const wanted = rankings.flatMap(({ candidates }) => ranked(candidates));
    const longest = Math.max(...wanted.map(({ token_ids: ids }) => ids.length));
    const padded = (values: readonly number[]) => [
      ...values,
      ...Array.from({ length: longest - values.length }, () => 0),
    ];
    expect(tensorOf(answer, 'token_ids')).toMatchObject({
      shape: [2, 4, longest],
      data: wanted.flatMap(({ token_ids: ids }) => padded(ids)),
    });
    const logprobs = wanted.flatMap(({ token_logprobs: values }) => padded([0, ...values]));
    expectClose(numbersOf(answer, 'token_logprobs'), logprobs, GREY_LEVEL_TOLERANCE);
    const [scores, means] = [numbersOf(answer, 'sequence_score'), numbersOf(answer, 'mean_token_logprob')];
    expectClose(numbersOf(answer, 'sequence_logprob'), scores, { absolute: 1e-5 });
    expectClose(
      means,
      scores.map((score, index) => score / (wanted[index]?.token_logprobs.length ?? Number.NaN)),
      { absolute: 1e-5 },
    );
  });

  test('a candidate comes back as it was sent, capitals and spaces included', async () => {
    const given = ['  A Small RED dog, on the beach', 'BLACK', 'Two  Dogs'];
    const answer = await ask({ ...inputsOf(), candidates: given, num_return_sequences: 3 });
    expect(new Set(dataOf(answer, 'answer'))).toEqual(new Set(given));
    const plain = await ask({
      ...inputsOf(),
      candidates: ['a small red dog, on the beach', 'black', 'two dogs'],
      num_return_sequences: 3,
    });
    expect(numbersOf(answer, 'token_ids')).toEqual(numbersOf(plain, 'token_ids'));
    expectClose(numbersOf(answer, 'sequence_score'), numbersOf(plain, 'sequence_score'), BATCH_TOLERANCE);
  });

  test('a single candidate is the answer', async () => {
    expect(dataOf(await ask({ ...inputsOf(), candidates: 'two dogs' }), 'answer')).toEqual(['two dogs', 'two dogs']);
  });

  test('a candidate that is sent twice comes back twice', async () => {
    const [row] = rankings;
    const answer = await ask({
      ...inputsOf(row === undefined ? [] : [row]),
      candidates: ['black', 'city', 'black'],
      num_return_sequences: 3,
    });
    expect(dataOf(answer, 'answer')).toEqual(['black', 'black', 'city']);
  });

  test('an empty candidate has the score of an empty answer', async () => {
    const answer = await ask({ ...inputsOf(), candidates: ['', 'city'], num_return_sequences: 2 });
    expect(new Set(dataOf(answer, 'answer'))).toEqual(new Set(['', 'city']));
    for (const score of numbersOf(answer, 'sequence_score')) expect(score).toBeLessThan(0);
  });

  test('more answers may be returned than by beams or samples, and other parameters change nothing', async () => {
    const usual = await ask({ ...inputsOf(), candidates: texts, num_return_sequences: 4 });
    const parameters = [
      { num_beams: 2 },
      { length_penalty: -2, num_beams: 3, early_stopping: true },
      { do_sample: true, seed: 1, temperature: 3, top_k: 2 },
      { max_new_tokens: 1, min_new_tokens: 1, repetition_penalty: 5, no_repeat_ngram_size: 1 },
      { preset: 'bentoblip', max_new_tokens: 1 },
    ];
    for (const each of parameters) {
      const answer = await ask({ ...inputsOf(), candidates: texts, num_return_sequences: 4, ...each });
      expect(dataOf(answer, 'answer')).toEqual(dataOf(usual, 'answer'));
      expectClose(numbersOf(answer, 'sequence_score'), numbersOf(usual, 'sequence_score'), BATCH_TOLERANCE);
    }
  });

  test('in original-blip the question starts with [ENC] too', async () => {
    const answer = await ask({ ...inputsOf(), candidates: texts, num_return_sequences: 4, preset: 'original-blip' });
    const wanted = rankings.flatMap(({ original }) => ranked(original));
    expect(dataOf(answer, 'answer')).toEqual(wanted.map(({ text }) => text));
    expectClose(numbersOf(answer, 'sequence_score'), scoresOf(wanted), GREY_LEVEL_TOLERANCE);
    const usual = scoresOf(rankings.flatMap(({ candidates }) => ranked(candidates)));
    for (const [index, score] of numbersOf(answer, 'sequence_score').entries())
      expect(Math.abs(score - (usual[index] ?? 0))).toBeGreaterThan(0.05);
  });

  test('an image that fails has no answer, and leaves the others alone', async () => {
    const inputs = { img_url: ['data:,x', dataUri('rocket')], question: rankings[1]?.question, candidates: texts };
    const answer = await ask({ ...inputs, num_return_sequences: 2 });
    expect(dataOf(answer, 'answer')).toEqual(['', '', 'city', 'black']);
    expect(numbersOf(answer, 'sequence_score').slice(0, 2)).toEqual([0, 0]);
    expect(dataOf(answer, 'error')).toEqual([expect.stringMatching(/^IMAGE_/), '']);
  });
});

describe('refused', () => {
  test('are more answers than there are candidates', async () => {
    for (const count of [3, 32]) {
      const inputs = { ...inputsOf(), candidates: ['a', 'b'], num_return_sequences: count };
      const error = await expectHandlerError(ask(inputs), 'INVALID_PARAMETER');
      expect(error.message).toMatch(new RegExp(`number of candidates 2, got ${count}`));
    }
  });

  test('are more candidates than 256, and not 256', async () => {
    const candidates = Array.from({ length: 257 }, (_, index) => `${index % 10}`);
    const error = await expectHandlerError(ask({ ...inputsOf(), candidates }), 'INVALID_INPUT');
    expect(error.message).toMatch(/at most 256 candidates, got 257/);
    const answer = await ask({ ...inputsOf(), candidates: candidates.slice(1), num_return_sequences: 32 });
    expect(tensorOf(answer, 'answer').shape).toEqual([2, 32]);
    const scores = numbersOf(answer, 'sequence_score').slice(0, 32);
    expect(scores).toEqual(scores.toSorted((a, b) => b - a));
  });

  test('is a candidate that does not fit the positions of the model', async () => {
    const error = await expectHandlerError(
      ask({ ...inputsOf(), candidates: ['a', 'dog '.repeat(39)] }),
      'PROMPT_TOO_LONG',
    );
    expect(error.message).toMatch(/candidate of at most 40 tokens, got 41/);
    expect(dataOf(await ask({ ...inputsOf(), candidates: ['dog '.repeat(38)] }), 'answer')).toHaveLength(2);
  });

  test.each([[[]], [[7]], [[null]], [[['a']]]])('are candidates like %j', async (candidates) => {
    await expectHandlerError(ask({ ...inputsOf(), candidates }), 'INVALID_INPUT');
  });

  test('are candidates of a checkpoint that captions', async () => {
    const captioning = new Handler(testSettings());
    await captioning.initialize();
    await expectHandlerError(
      captioning.infer({ img_url: dataUri('small'), candidates: ['a'] } as never),
      'INVALID_INPUT',
    ); // Not in our types.
    await captioning.finalize();
  });
});

describe('at the same time', () => {
  test('requests without candidates, and rankings of others, are answered as they are alone', async () => {
    const requests = [
      { ...inputsOf(), candidates: texts, num_return_sequences: 4 },
      inputsOf(),
      { ...inputsOf(), candidates: texts.toReversed() },
      { ...inputsOf(), num_beams: 3, num_return_sequences: 2 },
      { ...inputsOf(), candidates: ['cat', 'two small dogs'], num_return_sequences: 2 },
      { ...inputsOf(), max_new_tokens: 3 },
      { ...inputsOf(), candidates: texts, num_return_sequences: 2 },
      { ...inputsOf(), candidates: texts, num_return_sequences: 4, preset: 'original-blip' },
    ];
    const alone = [];
    for (const inputs of requests) alone.push(await ask(inputs));
    for (let round = 0; round < 3; round += 1) {
      const together = await Promise.all(requests.map((inputs) => ask(inputs)));
      for (const [index, answer] of together.entries()) {
        const wanted = alone[index];
        if (wanted === undefined) throw new Error('Expected an answer.');
        for (const name of ['answer', 'token_ids']) expect(tensorOf(answer, name)).toEqual(tensorOf(wanted, name));
        expectClose(numbersOf(answer, 'token_logprobs'), numbersOf(wanted, 'token_logprobs'), BATCH_TOLERANCE);
      }
    }
  });

  test('finalize waits for a first ranking too', async () => {
    const fresh = new Handler(testSettings({ checkpoint: checkpointFolder('answers-float32') }));
    await fresh.initialize();
    const answers = [{ candidates: texts }, {}, { candidates: ['city'] }].map((more) =>
      fresh.inferTensors({ inputs: { ...inputsOf(), ...more }, outputs: ['answer'] }),
    );
    await fresh.finalize();
    for (const { outputs } of await Promise.all(answers)) expect(outputs[0]?.data).toHaveLength(2);
  });
});

test('a ranking counts the tokens that were scored', async () => {
  const { generatedTokens, times } = await ask({ ...inputsOf(), candidates: texts, num_return_sequences: 4 });
  const scored = rankings.flatMap(({ candidates }) => candidates.map(({ token_logprobs: values }) => values.length));
  expect(generatedTokens).toBe(sumOf(scored));
  expect(times.computeMs).toBeGreaterThan(0);
});
