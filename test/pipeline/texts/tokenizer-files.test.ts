import { describe, expect, test } from 'vitest';
import { describeTokenizer } from '../../../pipeline/texts/definitions/describe-tokenizer.ts';
import { openTokenizer } from '../../../pipeline/texts/tokenizer.ts';
import { readGoldenJson } from '../../support/goldens.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

/** The tokenizers that transformers makes of odd files: test/fixtures/make_tokenizer_goldens.py. */
interface GoldenCase {
  readonly model_type: string;
  readonly title: string;
  readonly files: Readonly<Record<string, unknown>>;
  readonly definition: {
    readonly added_tokens: readonly object[];
    readonly normalizer: object;
    readonly pre_tokenizer: object;
    readonly decoder: object;
  };
  readonly rows: readonly (readonly [text: string, ids: readonly number[], decoded: string])[];
}

const cases = readGoldenJson<readonly GoldenCase[]>('tokenizers.json');

function folderOf(files: GoldenCase['files']): string {
  return temporaryFolder(
    Object.fromEntries(
      Object.entries(files).map(([name, content]) => [
        name,
        typeof content === 'string' ? content : JSON.stringify(content),
      ]),
    ),
  );
}

describe.each(cases)('$model_type: $title', ({ files, definition, rows }) => {
  test('becomes the tokenizer of transformers', () => {
    const folder = folderOf(files);
    const { parts } = describeTokenizer(folder);
    const { addedTokens } = openTokenizer(folder);
    expect(addedTokens).toEqual(definition.added_tokens);
    expect(parts.normalizer).toEqual(definition.normalizer);
  });

  test('makes the ids of transformers, and its texts', () => {
    const tokenizer = openTokenizer(folderOf(files));
    const mine = rows.map(([text]) => [text, tokenizer.encode(text)]);
    expect(mine).toEqual(rows.map(([text, ids]) => [text, ids]));
    const texts = rows.map(([text, ids]) => [text, tokenizer.decode(ids)]);
    expect(texts).toEqual(rows.map(([text, , decoded]) => [text, decoded]));
  });
});
