import { afterAll, beforeAll, describe, test } from 'vitest';
import { inEachForm } from '../support/forms.ts';
import { byParameters, expectGolden, type GoldenRow, openCaptioningSession } from '../support/generation-session.ts';
import { checkpointNames, readGoldenGenerations } from '../support/goldens.ts';

describe.each(inEachForm(checkpointNames))('%s in the %s form generates what transformers generates', (name, form) => {
  const groups = byParameters(readGoldenGenerations(name));
  let session: Awaited<ReturnType<typeof openCaptioningSession>>;
  beforeAll(async () => {
    session = await openCaptioningSession(name, { form });
  });
  afterAll(() => session.release());

  test.each(groups)('row by row with %s', async (_, rows) => {
    for (const row of rows) expectGolden(row, (await session.generate([row]))[0]);
  });

  test.each(groups)('as one batch of different images and prompt lengths with %s', async (_, rows) => {
    const answers = await session.generate(rows);
    for (const [index, row] of rows.entries()) expectGolden(row, answers[index]);
  });

  test.each(groups)('as batches of equal prompt lengths, a row for each image, with %s', async (_, rows) => {
    const lengthOf = (row: GoldenRow) =>
      (row.sequences[0]?.token_ids.length ?? 0) - (row.sequences[0]?.token_logprobs.length ?? 0);
    for (const length of new Set(rows.map(lengthOf))) {
      const ofLength = rows.filter((row) => lengthOf(row) === length);
      const batch = ofLength.filter((row, index) => ofLength.findIndex(({ image }) => image === row.image) === index);
      const answers = await session.generate(batch);
      for (const [index, row] of batch.entries()) expectGolden(row, answers[index]);
    }
  });

  test('whatever the order of the rows, and with more rows about one image than another', async () => {
    const [, rows = []] = groups[0] ?? [];
    const mixed = [...rows, ...rows.filter(({ image }) => image === 'rocket'), ...rows].reverse();
    const answers = await session.generate(mixed);
    for (const [index, row] of mixed.entries()) expectGolden(row, answers[index]);
  });
});
