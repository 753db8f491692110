import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RunningModel, startModel } from '../../../pipeline/model.ts';
import { rowsOf, shapesOf, valuesOf } from '../../support/answers.ts';
import { expectClose } from '../../support/close-to.ts';
import { answerCheckpointNames, checkpointFolder, type GoldenAnswer, readGoldenJson } from '../../support/goldens.ts';
import { dataUri, type ImageServer, startImageServer, testSettings } from '../../support/server.ts';
import { expectHandlerError } from '../../support/thrown.ts';

/** End to end, from image files and questions to answers: the goldens start from the same files. */

/** One grey level of the resize moves them. */
const LOGPROB_TOLERANCE = { absolute: 5e-3 };
const PAD_TOKEN_ID = 0;
const usual = ['answer'];
const outputs = ['answer', 'token_ids', 'token_logprobs', 'sequence_score'];

const inputsOf = (rows: readonly GoldenAnswer[]) => ({
  img_url: rows.map(({ image }) => dataUri(image)),
  question: rows.map(({ question }) => question),
});
const parametersOf = ({ parameters }: GoldenAnswer) =>
  Object.fromEntries(Object.entries(parameters).map(([name, value]) => [name, [value]]));

describe.each(answerCheckpointNames)('question answering with %s', (name) => {
  const goldens = readGoldenJson<readonly GoldenAnswer[]>(`${name}.json`);
  /** Greedy, with the defaults of transformers. */
  const greedy = goldens.filter(({ parameters }) => Object.keys(parameters).length === 0);
  let model: RunningModel;
  beforeAll(async () => {
    model = await startModel(testSettings({ checkpoint: checkpointFolder(name) }));
  });
  afterAll(() => model?.close());

  /** One answer to each of the rows, as the goldens have them. */
  function expectGolden(answer: Awaited<ReturnType<RunningModel['infer']>>, rows: readonly GoldenAnswer[]): void {
    expect(valuesOf(answer, 'answer')).toEqual(rows.map((row) => row.answer));
    const [ids, logprobs] = [rowsOf(answer, 'token_ids'), rowsOf(answer, 'token_logprobs')];
    for (const [index, { sequences }] of rows.entries()) {
      const { token_ids: tokenIds = [], token_logprobs: tokenLogprobs = [] } = sequences[0] ?? {};
      const padding = Array.from({ length: (ids[index]?.length ?? 0) - tokenIds.length }, () => 0);
      expect(ids[index]).toEqual([...tokenIds, ...padding.fill(PAD_TOKEN_ID)]);
      expectClose(logprobs[index] ?? [], [0, ...tokenLogprobs, ...padding], LOGPROB_TOLERANCE); // The start token has none.
    }
  }

  test('five questions about three pictures in one request', async () => {
    expect(greedy).toHaveLength(5);
    const answer = await model.infer({ inputs: inputsOf(greedy), outputs });
    expectGolden(answer, greedy);
    const generated = greedy.reduce((sum, { sequences }) => sum + (sequences[0]?.token_logprobs.length ?? 0), 0);
    expect(answer).toMatchObject({ failures: [], generatedTokens: generated });
    expect(Object.values(answer.times).every((time) => time >= 0)).toBe(true);
    expect(answer.times.computeMs).toBeGreaterThan(0);
  });

  test('the same as requests of their own, all at once', async () => {
    const answers = await Promise.all(greedy.map((row) => model.infer({ inputs: inputsOf([row]), outputs })));
    for (const [index, answer] of answers.entries()) expectGolden(answer, greedy.slice(index, index + 1));
  });

  test('several questions about one picture, and one question about several', async () => {
    const about = greedy.filter(({ image }) => image === 'rocket');
    const questions = about.map(({ question }) => question);
    expect(questions).toHaveLength(2);
    expectGolden(await model.infer({ inputs: { img_url: [dataUri('rocket')], question: questions }, outputs }), about);
    const [first] = greedy;
    const asked = greedy.filter(({ question }) => question === first?.question);
    const pictures = asked.map(({ image }) => dataUri(image));
    expect(pictures).toHaveLength(2);
    expectGolden(await model.infer({ inputs: { img_url: pictures, question: [first?.question] }, outputs }), asked);
  });

  test.each(['num_beams', 'repetition_penalty', 'min_new_tokens'])('with %s', async (parameter) => {
    const rows = goldens.filter(
      ({ parameters }) => parameter in parameters && parameters['num_return_sequences'] === undefined,
    );
    const title = JSON.stringify(rows[0]?.parameters);
    const equal = rows.filter(({ parameters }) => JSON.stringify(parameters) === title);
    expect(equal).toHaveLength(5);
    const [first] = equal;
    if (first === undefined) return;
    const answer = await model.infer({ inputs: { ...inputsOf(equal), ...parametersOf(first) }, outputs });
    expect(valuesOf(answer, 'answer')).toEqual(equal.map((row) => row.answer));
  });

  test('several answers to one question, best first', async () => {
    const rows = goldens.filter(({ parameters }) => parameters['num_return_sequences'] === 3);
    const [first] = rows;
    if (first === undefined) throw new Error('Expected goldens with several sequences.');
    const answer = await model.infer({ inputs: { ...inputsOf(rows), ...parametersOf(first) }, outputs });
    const longest = Math.max(...rows.flatMap(({ sequences }) => sequences.map(({ token_ids: ids }) => ids.length)));
    expect(shapesOf(answer)).toEqual([
      ['answer', [5, 3]],
      ['token_ids', [5, 3, longest]],
      ['token_logprobs', [5, 3, longest]],
      ['sequence_score', [5, 3]],
    ]);
    const wanted = rows.flatMap(({ sequences }) => sequences.map(({ score }) => score ?? Number.NaN));
    expectClose(valuesOf(answer, 'sequence_score').map(Number), wanted, LOGPROB_TOLERANCE);
    const best = valuesOf(answer, 'answer').filter((_, index) => index % 3 === 0);
    expect(best).toEqual(rows.map((row) => row.answer));
  });
});

describe('requests that cannot be answered, whole or in part', () => {
  const [name] = answerCheckpointNames;
  const [golden] = readGoldenJson<readonly GoldenAnswer[]>(`${name}.json`).slice(2);
  const [image, question] = [dataUri('rocket'), golden?.question ?? ''];
  /** 42 tokens; the model has 40 positions. */
  const tooLong = Array.from({ length: 40 }, () => 'dog').join(' ');
  let model: RunningModel;
  let images: ImageServer;
  beforeAll(async () => {
    [model, images] = await Promise.all([
      startModel(testSettings({ checkpoint: checkpointFolder(name), maxQueueSize: 3 })),
      startImageServer(),
    ]);
  });
  afterAll(async () => {
    await model?.close();
    await images?.close();
  });

  test('a picture that cannot be loaded leaves the others alone', async () => {
    const sources = [`${images.url}/missing.png`, image, '!'];
    const answer = await model.infer({ inputs: { img_url: sources, question: [question] }, outputs });
    expect(valuesOf(answer, 'answer')).toEqual(['', golden?.answer, '']);
    expect(answer.failures).toMatchObject([{ code: 'IMAGE_FETCH_FAILED' }, { code: 'IMAGE_SOURCE_INVALID' }]);
    expect(valuesOf(answer, 'error')).toEqual([
      expect.stringMatching(/^IMAGE_FETCH_FAILED: Image [12] of [23]: Expected .*404/),
      '',
      expect.stringMatching(/^IMAGE_SOURCE_INVALID: /),
    ]);
    for (const row of [0, 2]) {
      expect(new Set(rowsOf(answer, 'token_ids')[row])).toEqual(new Set([PAD_TOKEN_ID]));
      expect(new Set(rowsOf(answer, 'token_logprobs')[row])).toEqual(new Set([0]));
      expect(valuesOf(answer, 'sequence_score')[row]).toBe(0);
    }
    expect(valuesOf(answer, 'sequence_score')[1]).toBeLessThan(0);
  });

  test('where no picture can be loaded, the first failure is thrown', async () => {
    const sources = [`${images.url}/page.html`, `${images.url}/missing.png`];
    await expectHandlerError(
      model.infer({ inputs: { img_url: sources, question: [question] }, outputs: usual }),
      'IMAGE_UNSUPPORTED',
    );
  });

  test('a question that is too long is refused, and leaves others about the same picture alone', async () => {
    const answer = await model.infer({ inputs: { img_url: [image], question: [tooLong, question] }, outputs: usual });
    expect(valuesOf(answer, 'answer')).toEqual(['', golden?.answer]);
    expect(valuesOf(answer, 'error')).toEqual([expect.stringMatching(/^PROMPT_TOO_LONG: .*question.* 40 tokens/), '']);
    await expectHandlerError(
      model.infer({ inputs: { img_url: [image], question: [tooLong] }, outputs: usual }),
      'PROMPT_TOO_LONG',
    );
  });

  test('a question of as many tokens as there are positions is answered', async () => {
    const fitting = Array.from({ length: 38 }, () => 'dog').join(' ');
    const answer = await model.infer({ inputs: { img_url: [image], question: [fitting] }, outputs: usual });
    expect(answer.failures).toEqual([]);
    await expectHandlerError(
      model.infer({ inputs: { img_url: [image], question: [`${fitting} dog`] }, outputs: usual }),
      'PROMPT_TOO_LONG',
    );
  });

  test('the tokens of an answer count against the positions too, those of the question do not', async () => {
    const ask = (tokens: number) =>
      model.infer({ inputs: { img_url: [image], question: [question], max_new_tokens: [tokens] }, outputs: usual });
    expect((await ask(40)).failures).toEqual([]);
    await expectHandlerError(ask(41), 'PROMPT_TOO_LONG');
  });

  test('other numbers of questions than pictures are refused', async () => {
    const inputs = { img_url: [image, image], question: ['a', 'b', 'c'] };
    const { message } = await expectHandlerError(model.infer({ inputs, outputs: usual }), 'INVALID_INPUT');
    expect(message).toContain('question for each of 2 images');
  });

  test('more questions than can wait are refused for good, and those beside others until there is room', async () => {
    const questions = ['a', 'b', 'c', 'd'];
    const ask = (source: string, count: number) =>
      model.infer({ inputs: { img_url: [source], question: questions.slice(0, count) }, outputs: usual });
    const { message } = await expectHandlerError(ask(image, 4), 'INVALID_INPUT');
    expect(message).toContain('at most 3 items');
    const held = ask(`${images.url}/held.png`, 2);
    await images.held(1);
    await expectHandlerError(ask(image, 2), 'OVERLOADED');
    expect(valuesOf(await ask(image, 1), 'answer')).toHaveLength(1);
    images.release();
    await held;
    expect(valuesOf(await ask(image, 3), 'answer')).toHaveLength(3);
  });
});
