import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { mersenne } from 'pure-rand/generator/mersenne';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { BlipCheckpoint } from '../../checkpoint/checkpoint.ts';
import type { GenerationBatch, GenerationResult, SharedSettings } from '../../pipeline/sessions/generation-batch.ts';
import { loadSession } from '../../pipeline/sessions/load-session.ts';
import { expectClose } from '../support/close-to.ts';
import { forms } from '../support/forms.ts';
import { checkpointFolder, openBlipCheckpoint } from '../support/goldens.ts';
import { greedySettings } from '../support/greedy-settings.ts';

/**
 * Both forms answer equally, whatever decides between their loops: limits and least lengths of rows, lengths of prompts, the
 * order of images, several rows about one, and settings.
 */

const REQUESTS = 60;
/** Ids below it have a meaning of their own. */
const FIRST_WORD = 5;

type Pick = <T>(...choices: readonly T[]) => T;
type Between = (from: number, to: number) => number;

function randomness(seed: number): { readonly between: Between; readonly pick: Pick } {
  const generator = mersenne(seed);
  const between: Between = (from, to) => uniformInt(generator, from, to);
  return { between, pick: (...choices) => choices[between(0, choices.length - 1)] as (typeof choices)[number] };
}

const changes: readonly Partial<SharedSettings>[] = [
  {},
  {},
  {},
  { length_penalty: -1 },
  { num_beams: 2, num_return_sequences: 2 },
  { num_return_sequences: 2, do_sample: true },
  { repetition_penalty: 1.4 },
  { no_repeat_ngram_size: 2 },
];

function randomBatch({ config, task }: BlipCheckpoint, seed: number): GenerationBatch {
  const { between, pick } = randomness(seed);
  const { vision, text } = config;
  const words = (count: number) => Array.from({ length: count }, () => between(FIRST_WORD, text.vocabularySize - 1));
  const image = () => {
    const data = Uint8Array.from({ length: vision.imageSize ** 2 * 3 }, () => between(0, 255));
    return { width: vision.imageSize, height: vision.imageSize, data };
  };
  const images = Array.from({ length: between(1, 3) }, image);
  const [perImage, shuffles, promptLength] = [between(1, 2), pick(true, false), pick(0, 2, undefined)];
  const isQuestion = task === 'question-answering';
  const rows = images.flatMap((_, own) =>
    Array.from({ length: perImage }, () => {
      const maxNewTokens = pick(1, 2, between(1, 12), 12);
      return {
        image: shuffles ? between(0, images.length - 1) : own,
        inputIds: [text.bosTokenId, ...words(isQuestion ? 0 : (promptLength ?? between(0, 4)))],
        ...(isQuestion ? { questionIds: words(between(2, 6)) } : {}),
        maxNewTokens,
        minNewTokens: pick(0, 0, maxNewTokens, between(0, maxNewTokens)),
        seed: between(0, 1000),
      };
    }),
  );
  return { images, rows, settings: { ...greedySettings, ...pick(...changes) } };
}

function expectEqual(lean: GenerationResult, plain: GenerationResult): void {
  const sequences = ({ results }: GenerationResult) => results.flat();
  expect(sequences(lean).map(({ tokenIds }) => tokenIds)).toEqual(sequences(plain).map(({ tokenIds }) => tokenIds));
  for (const numbers of [
    (each: GenerationResult) => sequences(each).flatMap(({ tokenLogprobs }) => tokenLogprobs),
    scores,
  ])
    expectClose(numbers(lean), numbers(plain), { absolute: 1e-4, relative: 1e-4 });
}

const scores = ({ results }: GenerationResult) => results.flat().map(({ score }) => score);

describe.each(['narrow-vision', 'untied-bfloat16', 'answers-float32'] as const)('%s', (name) => {
  const checkpoint = openBlipCheckpoint(checkpointFolder(name));
  let sessions: readonly Awaited<ReturnType<typeof loadSession>>[];
  beforeAll(async () => {
    const load = (form: (typeof forms)[number]) =>
      loadSession(checkpoint, { executionProvider: 'cpu', threadCount: 1, form });
    sessions = await Promise.all(forms.map(load));
  });
  afterAll(() => Promise.all(sessions.map((session) => session.release())));

  test(`answers ${REQUESTS} requests equally in both forms`, async () => {
    for (let seed = 0; seed < REQUESTS; seed += 1) {
      const batch = randomBatch(checkpoint, seed);
      const [plain, lean] = await Promise.all(sessions.map((session) => session.runs.generation(batch)));
      if (plain === undefined || lean === undefined) throw new Error('Expected a session of each form.');
      expectEqual(lean, plain);
    }
  });
});
