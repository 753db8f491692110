import { describe, expect, test } from 'vitest';
import { readTokenRules } from '../../../checkpoint/config/token-rules.ts';
import { expectGolden, openCaptioningSession } from '../../support/generation-session.ts';
import { checkpointFolder, type GoldenGeneration, openBlipCheckpoint, readGoldenJson } from '../../support/goldens.ts';

/** Rules about tokens, against transformers: test/fixtures/make_token_rule_goldens.py. */

interface Golden {
  readonly rules: Readonly<Record<string, unknown>>;
  readonly rows: readonly (GoldenGeneration & { readonly changed: boolean })[];
}

const goldens = readGoldenJson<readonly Golden[]>('token-rules.json');
const { text } = openBlipCheckpoint(checkpointFolder('narrow-vision')).config;
const vocabulary = { vocabularySize: text.vocabularySize, endTokenId: text.sepTokenId };

describe('a checkpoint with rules about tokens', () => {
  test('changes texts', () => {
    expect(goldens.length).toBe(14);
    expect(goldens.flatMap(({ rows }) => rows).filter(({ changed }) => changed).length).toBeGreaterThan(25);
  });

  test.each(goldens.map((golden) => [JSON.stringify(golden.rules), golden] as const))(
    '%s generates what transformers generates, row by row and in a batch',
    async (_, { rules, rows }) => {
      const read = readTokenRules({ path: 'generation_config.json', values: rules }, vocabulary);
      const session = await openCaptioningSession('narrow-vision', {}, read);
      try {
        for (const row of rows) expectGolden(row, (await session.generate([row]))[0]);
        const answers = await session.generate(rows);
        for (const [index, row] of rows.entries()) expectGolden(row, answers[index]);
      } finally {
        await session.release();
      }
    },
  );
});
