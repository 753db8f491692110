import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCaptioningSession, type Sequence } from '../support/generation-session.ts';
import { expectClose } from '../support/close-to.ts';
import { checkpointNames, type GoldenGeneration, readGoldenGenerations } from '../support/goldens.ts';

/** Token ids are identical; log-probabilities and scores differ by rounding only. */
const LOGPROB_TOLERANCE = { absolute: 1e-4 };
const SCORE_TOLERANCE = { absolute: 1e-4, relative: 1e-4 };

function expectGolden(row: GoldenGeneration, sequences: readonly Sequence[] | undefined): void {
  const wanted = row.sequences;
  expect(sequences?.map(({ tokenIds }) => tokenIds)).toEqual(wanted.map(({ token_ids }) => token_ids));
  for (const [index, { token_logprobs, score }] of wanted.entries()) {
    expectClose(sequences?.[index]?.tokenLogprobs ?? [], token_logprobs, LOGPROB_TOLERANCE);
    if (score !== undefined) expectClose([sequences?.[index]?.score ?? Number.NaN], [score], SCORE_TOLERANCE);
  }
}

/** Rows with equal parameters, under a readable title. */
function byParameters(
  rows: readonly GoldenGeneration[],
): readonly [title: string, rows: readonly GoldenGeneration[]][] {
  const groups = new Map<string, GoldenGeneration[]>();
  for (const row of rows) {
    const title = JSON.stringify(row.parameters);
    groups.set(title, [...(groups.get(title) ?? []), row]);
  }
  return [...groups];
}

describe.each(checkpointNames)('%s generates what transformers generates', (name) => {
  const groups = byParameters(readGoldenGenerations(name));
  let session: Awaited<ReturnType<typeof openCaptioningSession>>;
  beforeAll(async () => {
    session = await openCaptioningSession(name);
  });
  afterAll(() => session.release());

  test.each(groups)('row by row with %s', async (_, rows) => {
    for (const row of rows) expectGolden(row, (await session.generate([row]))[0]);
  });

  test.each(groups)('as one batch of different images and prompt lengths with %s', async (_, rows) => {
    const answers = await session.generate(rows);
    for (const [index, row] of rows.entries()) expectGolden(row, answers[index]);
  });

  test('whatever the order of the rows, and with more rows about one image than another', async () => {
    const [, rows = []] = groups[0] ?? [];
    const mixed = [...rows, ...rows.filter(({ image }) => image === 'rocket'), ...rows].reverse();
    const answers = await session.generate(mixed);
    for (const [index, row] of mixed.entries()) expectGolden(row, answers[index]);
  });
});
