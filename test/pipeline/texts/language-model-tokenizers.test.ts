import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { describeTokenizer } from '../../../pipeline/texts/definitions/describe-tokenizer.ts';
import { readSentencePiece } from '../../../pipeline/texts/definitions/sentence-piece.ts';
import { openTokenizer } from '../../../pipeline/texts/tokenizer.ts';
import { readGoldenJson } from '../../support/goldens.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

/** The tokenizers that transformers makes of OPT's, T5's and LLaMA's files: test/fixtures/make_tokenizer_goldens.py. */
interface GoldenCase {
  readonly model_type: string;
  readonly title: string;
  readonly files: Readonly<Record<string, unknown>>;
  readonly definition: { readonly added_tokens: readonly object[]; readonly normalizer: object };
  readonly rows: readonly (readonly [text: string, ids: readonly number[], decoded: string])[];
  readonly decodes: readonly (readonly [ids: readonly number[], decoded: string])[];
}

const cases = readGoldenJson<readonly GoldenCase[]>('language-model-tokenizers.json');
const models = fileURLToPath(new URL('../../fixtures/tokenizers/', import.meta.url));
const charsmap = readSentencePiece(models, 't5-spiece.model', 'Unigram')?.charsmap ?? '';

function folderOf(files: GoldenCase['files']): string {
  const texts = Object.entries(files).filter(([, content]) => fixtureOf(content) === undefined);
  const folder = temporaryFolder(
    Object.fromEntries(
      texts.map(([name, content]) => [
        name,
        (typeof content === 'string' ? content : JSON.stringify(content)).replace('CHARSMAP', charsmap),
      ]),
    ),
  );
  for (const [name, content] of Object.entries(files)) {
    const fixture = fixtureOf(content);
    if (fixture !== undefined) copyFileSync(join(models, fixture), join(folder, name));
  }
  return folder;
}

function fixtureOf(content: unknown): string | undefined {
  const isFixture = typeof content === 'object' && content !== null && 'fixture' in content;
  return isFixture ? String(content.fixture) : undefined;
}

describe.each(cases)('$model_type: $title', ({ files, definition, rows, decodes }) => {
  test('becomes the tokenizer of transformers', () => {
    const normalizer: unknown = JSON.parse(JSON.stringify(definition.normalizer).replace('CHARSMAP', charsmap));
    const folder = folderOf(files);
    expect(openTokenizer(folder).addedTokens).toEqual(definition.added_tokens);
    expect(describeTokenizer(folder).parts.normalizer).toEqual(normalizer);
  });

  test('makes the ids of transformers, and its texts', () => {
    const tokenizer = openTokenizer(folderOf(files));
    const mine = rows.map(([text]) => [text, tokenizer.encode(text)]);
    expect(mine).toEqual(rows.map(([text, ids]) => [text, ids]));
    const texts = rows.map(([text, ids]) => [text, tokenizer.decode(ids)]);
    expect(texts).toEqual(rows.map(([text, , decoded]) => [text, decoded]));
  });

  test('makes the texts of transformers of ids that no text has', () => {
    const tokenizer = openTokenizer(folderOf(files));
    const mine = decodes.map(([ids]) => [ids, tokenizer.decode(ids)]);
    expect(mine).toEqual(decodes);
  });
});

/** Files of a case, by its title. */
function filesOf(title: string): GoldenCase['files'] {
  const found = cases.find((each) => each.title === title);
  if (found === undefined) throw new Error(`no golden case ${title}`);
  return found.files;
}

describe('added tokens in a text', () => {
  const title = 'vocab.json and merges.txt, with <image>';

  test('are found where ids are made of them, each once', () => {
    const tokenizer = openTokenizer(folderOf(filesOf(title)));
    const [image] = tokenizer.addedTokens.filter(({ content }) => content === '<image>');
    expect(tokenizer.addedTokenIds('a cat, <image>s </s><image>')).toEqual([image?.id, 2]);
    expect(tokenizer.encode('<image>')).toEqual([2, image?.id]);
  });

  test.each(['', 'a cat', '<Image>', '< image>', '<s>', '<unk>'])('are not in %j', (text) => {
    expect(openTokenizer(folderOf(filesOf(title))).addedTokenIds(text)).toEqual([]);
  });

  test('are those of T5 with its gaps', () => {
    const tokenizer = openTokenizer(folderOf(filesOf('spiece.model alone')));
    expect(tokenizer.addedTokenIds('a <extra_id_0> b')).toEqual([227]);
  });
});

describe('files without a class', () => {
  const without = (files: GoldenCase['files']) =>
    Object.fromEntries(Object.entries(files).filter(([name]) => name !== 'tokenizer_config.json'));

  test('are OPT’s where no piece ends a word, and its ids those of CLIP’s alphabet', () => {
    const tokenizer = openTokenizer(folderOf(without(filesOf('without add_bos_token'))));
    expect(tokenizer.decode(tokenizer.encode(' two  cats\n'))).toBe(' two  cats\n');
  });

  test.each([
    ['spiece.model alone', '\u0344 é 👨\u200d👩'],
    ['tokenizer.model alone', ' two  cats\n'],
  ])('%s are those of its class', (name, text) => {
    const named = openTokenizer(folderOf(filesOf(name)));
    const unnamed = openTokenizer(folderOf(without(filesOf(name))));
    expect(unnamed.encode(text)).toEqual(named.encode(text));
  });
});
