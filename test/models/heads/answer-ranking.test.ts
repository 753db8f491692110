import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openWeights } from '../../../checkpoint/weights/weights.ts';
import { answerRankingGraph } from '../../../models/heads/answer-ranking.ts';
import { createSession, type RuntimeTensor, type Session } from '../../../pipeline/sessions/runtime.ts';
import { paddedRows, runtimeInt64s } from '../../../pipeline/sessions/tensors.ts';
import { expectClose } from '../../support/close-to.ts';
import { checkpointFolder, type ImageName, openBlipCheckpoint, openGoldenTensors } from '../../support/goldens.ts';
import { newImages } from '../../support/new-images.ts';
import { type GoldenCandidate, type GoldenRanking, readGoldenPresets } from '../../support/preset-goldens.ts';

/** Log-likelihoods of answers that transformers' decoder gives, each computed alone: make_preset_goldens.py. */

const TOLERANCE = { absolute: 1e-4 };

const checkpoint = openBlipCheckpoint(checkpointFolder('answers-float32'));
const { rankings } = readGoldenPresets();
let session: Session;

beforeAll(async () => {
  const weights = openWeights(checkpoint.folder);
  session = await createSession(answerRankingGraph(checkpoint, weights), {
    executionProvider: 'cpu',
    threadCount: 2,
    dataFolder: weights.dataFolder,
  });
});

afterAll(() => session?.release());

/** A question, and the answers to it: those of the golden, or those to the question that starts with [ENC]. */
interface Row extends GoldenRanking {
  readonly start?: '[ENC]';
}

function candidatesOf({ start, original, candidates }: Row): readonly GoldenCandidate[] {
  return start === '[ENC]' ? original : candidates;
}

function imageTensor(names: readonly ImageName[]): RuntimeTensor {
  const goldens = openGoldenTensors('answers-float32');
  const images = names.map((name) => goldens.bytes(`${name}.resized`));
  const data = Buffer.concat(images.map((image) => image.data));
  return { data: new Uint8Array(data), shape: [names.length, ...(images[0]?.shape ?? [])] };
}

/** Ranks the candidates with these numbers for every row, as one batch; [rows][candidates][length]. */
async function logprobsOf(
  rows: readonly Row[],
  numbers: readonly number[],
): Promise<readonly (readonly (readonly number[])[])[]> {
  const names = [...new Set(rows.map(({ image }) => image))].sort();
  const encTokenId = checkpoint.config.text.bosTokenId + 1;
  const questions = paddedRows(
    rows.map(({ question_ids: ids, start }) => (start === '[ENC]' ? [encTokenId, ...ids.slice(1)] : ids)),
  );
  const candidates = paddedRows(numbers.map((number) => rows[0]?.candidates[number]?.token_ids ?? []));
  const { token_logprobs: output } = await session.run({
    ...newImages(checkpoint, imageTensor(names)),
    image_index: runtimeInt64s(rows.map(({ image }) => names.indexOf(image))),
    question_ids: questions.ids,
    question_length: questions.lengths,
    candidate_ids: candidates.ids,
    candidate_length: candidates.lengths,
  });
  const [, , length = 0] = output?.shape ?? [];
  expect(output?.shape).toEqual([rows.length, numbers.length, candidates.ids.shape[1]]);
  const values = Array.from(output?.data ?? [], Number);
  return rows.map((_, row) =>
    numbers.map((_number, candidate) => {
      const start = (row * numbers.length + candidate) * length;
      return values.slice(start, start + length);
    }),
  );
}

async function expectGolden(rows: readonly Row[], numbers: readonly number[]): Promise<void> {
  const logprobs = await logprobsOf(rows, numbers);
  for (const [index, row] of rows.entries()) {
    for (const [position, number] of numbers.entries()) {
      const golden = candidatesOf(row)[number];
      if (golden === undefined) throw new Error(`Expected a golden candidate ${number}.`);
      const got = logprobs[index]?.[position] ?? [];
      const padding = Array.from({ length: got.length - golden.token_ids.length }, () => 0);
      expectClose(got, [0, ...golden.token_logprobs, ...padding], TOLERANCE);
      const sum = got.reduce((total, logprob) => total + logprob, 0);
      expectClose([-sum], [golden.negative_log_likelihood], TOLERANCE);
    }
  }
}

const all = [0, 1, 2, 3];

describe('the log-likelihood of an answer is that of transformers', () => {
  test('the goldens are two questions of different lengths about two images, and candidates of different lengths', () => {
    expect(new Set(rankings.map(({ image }) => image)).size).toBe(2);
    expect(new Set(rankings.map(({ question_ids: ids }) => ids.length)).size).toBe(2);
    expect(new Set(rankings[0]?.candidates.map(({ token_ids: ids }) => ids.length)).size).toBe(3);
    const best = rankings.map(({ candidates }) => candidates.map((candidate) => -candidate.negative_log_likelihood));
    expect(best.map((scores) => scores.indexOf(Math.max(...scores)))).toEqual([0, 3]);
  });

  test.each(all)('candidate %d alone, each question alone', async (number) => {
    for (const row of rankings) await expectGolden([row], [number]);
  });

  test('all candidates of each question alone', async () => {
    for (const row of rankings) await expectGolden([row], all);
  });

  test('as one batch, whatever the order', async () => {
    await expectGolden(rankings, all);
    await expectGolden(rankings.toReversed(), all.toReversed());
  });

  test('with more questions about one image than another, and a candidate twice', async () => {
    await expectGolden([...rankings, ...rankings.slice(1), ...rankings.slice(1)], [2, 0, 2, 1]);
  });

  test('of questions that start with [ENC], beside those that start with [CLS]', async () => {
    const mixed = rankings.flatMap((row): readonly Row[] => [row, { ...row, start: '[ENC]' }]);
    await expectGolden(mixed, all);
  });
});

test('an answer of no tokens has the log-probability of its end', async () => {
  const [row] = rankings;
  if (row === undefined) throw new Error('Expected a golden.');
  const { bosTokenId, sepTokenId } = checkpoint.config.text;
  const empty = {
    ...row,
    candidates: [{ text: '', token_ids: [bosTokenId, sepTokenId], token_logprobs: [], negative_log_likelihood: 0 }],
  };
  const [[logprobs = []] = []] = await logprobsOf([empty], [0]);
  expect(logprobs[0]).toBe(0);
  expect(logprobs[1]).toBeLessThan(0);
  expect(logprobs).toHaveLength(2);
});
