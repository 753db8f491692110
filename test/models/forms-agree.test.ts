import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { mersenne } from 'pure-rand/generator/mersenne';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Blip2Checkpoint, BlipCheckpoint } from '../../checkpoint/checkpoint.ts';
import type {
  GenerationBatch,
  GenerationResult,
  GenerationRow,
  SharedSettings,
} from '../../pipeline/sessions/generation-batch.ts';
import { loadSession } from '../../pipeline/sessions/load-session.ts';
import { expectClose } from '../support/close-to.ts';
import { forms } from '../support/forms.ts';
import { checkpointFolder, openBlip2Checkpoint, openBlipCheckpoint } from '../support/goldens.ts';
import { greedySettings } from '../support/greedy-settings.ts';

/**
 * Both forms answer equally, whatever decides between their loops: limits and least lengths of rows, lengths of prompts, the
 * order of images, several rows about one, and settings. So does a row of a batch, whatever is beside it.
 */

const REQUESTS = 60;
const BATCHES = 16;
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

type Words = (count: number, vocabularySize: number) => readonly number[];

/** A row's tokens behind `count` words of a prompt. */
type Start = (words: Words, count: number) => Omit<GenerationRow, 'maxNewTokens' | 'minNewTokens' | 'seed'>;

/** BLIP: its decoder reads a prompt, or its encoder a question. */
function startOfBlip({ config, task }: BlipCheckpoint): Start {
  const { bosTokenId, vocabularySize } = config.text;
  if (task !== 'question-answering')
    return (words, count) => ({ inputIds: [bosTokenId, ...words(count, vocabularySize)] });
  return (words, count) => ({ inputIds: [bosTokenId], questionIds: words(2 + count, vocabularySize) });
}

/** BLIP-2: a decoder reads the image and the prompt, or T5's encoder does; and InstructBLIP's Q-Former reads the prompt too. */
function startBehindImage({ config }: Blip2Checkpoint): Start {
  const { language, qFormer, queryCount, readsInstruction } = config;
  const image = Array.from({ length: queryCount }, () => language.padTokenId);
  return (words, count) => {
    const prompt = words(1 + count, language.vocabularySize);
    return {
      ...(language.kind === 't5'
        ? { inputIds: [language.startTokenId], questionIds: prompt }
        : { inputIds: [...image, ...prompt] }),
      ...(readsInstruction ? { instructionIds: words(2 + count, qFormer.vocabularySize) } : {}),
    };
  };
}

type Generating = BlipCheckpoint | Blip2Checkpoint;

function randomBatch(checkpoint: Generating, seed: number): GenerationBatch {
  const { between, pick } = randomness(seed);
  const { vision } = checkpoint.config;
  const words: Words = (count, size) => Array.from({ length: count }, () => between(FIRST_WORD, size - 1));
  const start = checkpoint.task === 'image-text-to-text' ? startBehindImage(checkpoint) : startOfBlip(checkpoint);
  const image = () => {
    const data = Uint8Array.from({ length: vision.imageSize ** 2 * 3 }, () => between(0, 255));
    return { width: vision.imageSize, height: vision.imageSize, data };
  };
  const images = Array.from({ length: between(1, 3) }, image);
  const [perImage, shuffles, promptLength] = [between(1, 2), pick(true, false), pick(0, 2, undefined)];
  const rows = images.flatMap((_, own) =>
    Array.from({ length: perImage }, () => {
      const maxNewTokens = pick(1, 2, between(1, 12), 12);
      return {
        image: shuffles ? between(0, images.length - 1) : own,
        ...start(words, promptLength ?? between(0, 4)),
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

/** The same row of a batch, alone with its image. */
function aloneIn({ images, rows, settings }: GenerationBatch, index: number): GenerationBatch {
  const row = rows[index];
  const image = images[row?.image ?? -1];
  if (row === undefined || image === undefined) throw new RangeError(`Expected row ${index} and its image.`);
  return { images: [image], rows: [{ ...row, image: 0 }], settings };
}

const open: Readonly<Record<string, () => Generating>> = {
  ...Object.fromEntries(
    (['narrow-vision', 'untied-bfloat16', 'answers-float32'] as const).map((name) => [
      name,
      () => openBlipCheckpoint(checkpointFolder(name)),
    ]),
  ),
  ...Object.fromEntries(
    (['blip2-opt', 'blip2-t5-legacy', 'blip2-t5-bfloat16', 'instructblip-t5', 'instructblip-vicuna'] as const).map(
      (name) => [name, () => openBlip2Checkpoint(checkpointFolder(name))],
    ),
  ),
};

describe.each(Object.entries(open))('%s', (_, openNamed) => {
  const checkpoint = openNamed();
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

  test(`answers each row of ${BATCHES} requests as it does alone`, async () => {
    for (let seed = 0; seed < BATCHES; seed += 1) {
      const batch = randomBatch(checkpoint, seed);
      for (const session of sessions) {
        const together = await session.runs.generation(batch);
        const alone = batch.rows.map((__, index) => session.runs.generation(aloneIn(batch, index)));
        const results = (await Promise.all(alone)).flatMap((each) => each.results);
        expectEqual({ ...together, results }, together);
      }
    }
  });
});
