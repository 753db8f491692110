import { describe, expect, test } from 'vitest';
import { openTokenizer } from '../../../pipeline/texts/tokenizer.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

/** Tokenizer files of strangers: a folder that is refused is refused soon, and one that is taken is quick with any text. */
const SOON_MS = 2_000;

const vocab = { '[UNK]': 0, '[CLS]': 1, '[SEP]': 2, '[PAD]': 3, '[MASK]': 4, a: 5, '##a': 6 };
const harmless = {
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: { type: 'WhitespaceSplit' },
  post_processor: null,
  decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
  model: {
    type: 'WordPiece',
    unk_token: '[UNK]',
    continuing_subword_prefix: '##',
    max_input_chars_per_word: 100,
    vocab,
  },
};
const written = JSON.stringify({ tokenizer_class: 'PreTrainedTokenizerFast' });
const bert = JSON.stringify({ tokenizer_class: 'BertTokenizer' });

function folderOf(change: object, settings = written): string {
  const definition = JSON.stringify({ ...harmless, ...change });
  return temporaryFolder({ 'tokenizer.json': definition, 'tokenizer_config.json': settings });
}

const regex = { Regex: '(a+)+$' };
const sequence = (depth: number): object =>
  Array.from({ length: depth }).reduce<object>((inner) => ({ type: 'Sequence', normalizers: [inner] }), {
    type: 'NFC',
  });
const doubling = { type: 'Replace', pattern: { String: 'a' }, content: 'aa' };
const model = (change: object) => ({ model: { ...harmless.model, ...change } });
const tokens = (count: number, length = 1) =>
  Array.from({ length: count }, (_, id) => ({ id, content: `${id}${'x'.repeat(length)}` }));
const template = (single: readonly object[]) => ({
  post_processor: { type: 'TemplateProcessing', single, pair: [], special_tokens: {} },
});
const text = { Sequence: { id: 'A', type_id: 0 } };
const special = { SpecialToken: { id: '[CLS]', type_id: 0 } };

test('the harmless tokenizer that the others are made from is taken', () => {
  expect(openTokenizer(folderOf({})).encode('a aa b')).toEqual([5, 5, 6, 0]);
});

test.each<[title: string, change: object, part: string]>([
  [
    'a Split that the library would take for another',
    { pre_tokenizer: { type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithPrevious' } },
    'Split to have a behavior of Isolated, Removed',
  ],
  [
    'a regex that never ends, in Split',
    { pre_tokenizer: { type: 'Split', pattern: regex, behavior: 'Isolated' } },
    '(a+)+$',
  ],
  ['one in Replace before', { normalizer: { type: 'Replace', pattern: regex, content: '' } }, '(a+)+$'],
  ['one in Replace behind', { decoder: { type: 'Replace', pattern: regex, content: '' } }, '(a+)+$'],
  [
    'one deep in a sequence',
    {
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: [{ type: 'Sequence', pretokenizers: [{ type: 'Split', pattern: regex }] }],
      },
    },
    '(a+)+$',
  ],
  [
    'an empty pattern',
    { normalizer: { type: 'Replace', pattern: { String: '' }, content: 'aaaa' } },
    'regexes of known',
  ],
  ['no pattern', { normalizer: { type: 'Replace', pattern: {}, content: 'aaaa' } }, 'regexes of known'],
  ['a length of nothing', { pre_tokenizer: { type: 'FixedLength', length: 0 } }, 'length of at least 1'],
  ['no length', { pre_tokenizer: { type: 'FixedLength' } }, 'length of at least 1'],
  ['a replacement of megabytes', { normalizer: { ...doubling, content: 'a'.repeat(1 << 20) } }, '2 times as long'],
  [
    'texts that double and double',
    { normalizer: { type: 'Sequence', normalizers: Array(30).fill(doubling) } },
    '2 times as long',
  ],
  ['a long beginning', { normalizer: { type: 'Prepend', prepend: 'a'.repeat(100_000) } }, '2 times as long'],
  [
    'spaces that become long',
    { pre_tokenizer: { type: 'Metaspace', replacement: 'a'.repeat(1_000) } },
    '2 times as long',
  ],
  ['sequences in sequences', { normalizer: sequence(1_000) }, 'at most 64 parts'],
  ['many parts', { normalizer: { type: 'Sequence', normalizers: Array(100_000).fill({ type: 'NFC' }) } }, '64 parts'],
  ['parts that are no objects', { normalizer: ['NFC'] }, 'normalizer to be an object'],
  ['a part that nobody knows', { normalizer: { type: 'Oracle' } }, 'does not load'],
  ['the text twice', template([text, text]), 'a template with the text once'],
  ['no text', template([special]), 'a template with the text once'],
  ['many tokens around the text', template([text, ...Array(60).fill(special)]), 'at most 16 tokens'],
  ['a template of megabytes', template([text, ...Array(60_000).fill(special)]), 'a template of at most 64 parts'],
  ['many added tokens', { added_tokens: tokens(20_000) }, 'at most 16384 added tokens'],
  ['long added tokens', { added_tokens: tokens(1, 2_000_000) }, 'of 256 characters'],
  ['many long added tokens', { added_tokens: tokens(16_000, 200) }, 'together'],
  ['added tokens that are no objects', { added_tokens: [1] }, 'added_tokens to be objects'],
  ['ids beyond all tables', model({ vocab: { ...vocab, b: 4e9 } }), 'whole numbers of 0 to 4000000'],
  ['negative ids', model({ vocab: { ...vocab, b: -1 } }), 'whole numbers of 0'],
  ['ids in words', model({ vocab: { ...vocab, b: '7' } }), 'whole numbers of 0'],
  ['a vocabulary that is a list', model({ vocab: ['a'] }), 'a vocabulary of tokens and their ids'],
  ['words of any length', model({ max_input_chars_per_word: 1e9 }), 'max_input_chars_per_word of at most 100'],
  ['a model that nobody knows', model({ type: 'Oracle' }), 'WordPiece, BPE or Unigram'],
  [
    'pieces of any length',
    model({ type: 'Unigram', vocab: [['a'.repeat(1_000), 0]], unk_id: 0 }),
    'pieces of at most 64',
  ],
  ['merges that are no texts', model({ type: 'BPE', merges: [1] }), 'merges of two tokens each'],
])('%s: refused', (_, change, part) => {
  const folder = folderOf(change);
  const startMs = performance.now();
  expectCheckpointError(() => openTokenizer(folder), 'CHECKPOINT_TOKENIZER_INVALID', ['tokenizer.json', part]);
  expect(performance.now() - startMs).toBeLessThan(SOON_MS);
});

test.each<[title: string, content: string]>([
  ['lists in lists', `{"a":${'['.repeat(8_000_000)}${']'.repeat(8_000_000)}}`],
  ['millions of objects', `{"a":[${'{},'.repeat(6_000_000)}0]}`],
  ['a half of millions of lists', `{"a":[${'[],'.repeat(6_000_000)}`],
])('a tokenizer.json of %s: refused before it is parsed', (_, content) => {
  const folder = temporaryFolder({ 'tokenizer.json': content });
  const startMs = performance.now();
  const parts = ['tokenizer.json', 'at most 1600000 values'];
  expectCheckpointError(() => openTokenizer(folder), 'CHECKPOINT_TOKENIZER_INVALID', parts);
  expect(performance.now() - startMs).toBeLessThan(SOON_MS);
});

test.each<[title: string, settings: object]>([
  ['special tokens without end', { additional_special_tokens: tokens(20_000).map(({ content }) => content) }],
  ['special tokens of megabytes', { bos_token: 'x'.repeat(1_000_000) }],
  ['special tokens that are numbers', { bos_token: 7 }],
  ['added tokens that are numbers', { added_tokens_decoder: { 7: 7 } }],
  ['added tokens without text', { added_tokens_decoder: { 7: {} } }],
  ['added tokens by names', { added_tokens_decoder: { seven: { content: 'x' } } }],
  ['a list of added tokens', { added_tokens_decoder: 'x' }],
])('a tokenizer_config.json of %s: refused', (_, settings) => {
  const folder = folderOf({}, JSON.stringify({ tokenizer_class: 'BertTokenizer', ...settings }));
  expectCheckpointError(() => openTokenizer(folder), 'CHECKPOINT_TOKENIZER_INVALID', ['tokenizer_config.json']);
});

describe('a tokenizer that is taken', () => {
  const regexes = { pre_tokenizer: { type: 'Split', pattern: regex }, normalizer: { type: 'Replace', pattern: regex } };
  const words = Array.from({ length: 1_000 }, (_, length) => ({ id: 7, content: 'a'.repeat((length % 200) + 57) }));
  const longTexts = ['a', 'a ', '##a', 'é', '日', ' ', '\u0301', 'Σ', '\ud840\udc00', '[CLS]'].map((part) =>
    part.repeat(Math.ceil(51_200 / part.length)).slice(0, 51_200),
  );

  test.each([
    ['has regexes that its class does not read', folderOf.bind(undefined, regexes, bert)],
    ['has many added tokens', folderOf.bind(undefined, { added_tokens: words }, bert)],
    ['replaces and divides', folderOf.bind(undefined, { normalizer: { ...doubling, content: 'aa' } }, written)],
  ])('%s: quick with long texts', (_, make) => {
    const tokenizer = openTokenizer(make());
    for (const long of longTexts) {
      const startMs = performance.now();
      tokenizer.encode(long);
      expect(performance.now() - startMs).toBeLessThan(SOON_MS);
    }
  });

  test('may have tokens with the names of JavaScript', () => {
    const names = { ...vocab, constructor: 7, toString: 8, hasOwnProperty: 9 };
    const folder = folderOf(model({ vocab: names }), JSON.stringify({ additional_special_tokens: ['__proto__'] }));
    const tokenizer = openTokenizer(folder);
    expect(tokenizer.encode('constructor __proto__ a')).toEqual([1, 7, 10, 5, 2]);
    expect(tokenizer.decode([7, 8, 9])).toBe('constructor toString hasOwnProperty');
  });
});
