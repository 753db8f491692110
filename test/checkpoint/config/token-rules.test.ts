import { describe, expect, test } from 'vitest';
import { readTokenRules } from '../../../checkpoint/config/token-rules.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

const PATH = '/some/generation_config.json';
const read = (values: Readonly<Record<string, unknown>>) =>
  readTokenRules({ path: PATH, values }, { vocabularySize: 10, endTokenId: 3 });

describe('rules about tokens', () => {
  test('are none where nothing is said', () => {
    const empty = { bad_words_ids: null, suppress_tokens: [], sequence_bias: [], forced_eos_token_id: [-1] };
    expect(read(empty)).toEqual({});
  });

  test('are read by their names', () => {
    expect(
      read({
        suppress_tokens: [1, -1, 2],
        begin_suppress_tokens: 4,
        bad_words_ids: [[5, 6], [3], [3, 3]],
        sequence_bias: [
          [[7], 1],
          [[8, 9], -2.5],
          [[7], 3],
        ],
        forced_bos_token_id: 9,
        forced_eos_token_id: [3, 8],
      }),
    ).toEqual({
      suppressTokens: [1, 2],
      beginSuppressTokens: [4],
      badWordsIds: [
        [5, 6],
        [3, 3],
      ],
      sequenceBias: [
        { tokenIds: [7], bias: 3 },
        { tokenIds: [8, 9], bias: -2.5 },
      ],
      forcedBosTokenId: 9,
      forcedEosTokenIds: [3, 8],
    });
  });

  test.each([
    [{ suppress_tokens: [10] }, 'suppress_tokens to be token ids below vocab_size 10, got 10'],
    [{ suppress_tokens: [1.5] }, 'suppress_tokens'],
    [{ suppress_tokens: 'a' }, 'suppress_tokens'],
    [{ suppress_tokens: [0, 1, 2, 3, 4, 5, 6, 7, 8] }, 'suppress_tokens to leave two tokens, got 9'],
    [{ begin_suppress_tokens: [-2] }, 'begin_suppress_tokens'],
    [{ bad_words_ids: [1] }, 'bad_words_ids to be lists of 1 to 32 token ids, got 1'],
    [{ bad_words_ids: [[]] }, 'bad_words_ids to be lists of 1 to 32'],
    [{ bad_words_ids: { a: 1 } }, 'bad_words_ids to be a list'],
    [{ bad_words_ids: [Array.from({ length: 33 }, () => 1)] }, 'got a list of 33'],
    [{ bad_words_ids: Array.from({ length: 6_000 }, () => [1, 2]) }, 'at most 10000 token ids in bad_words_ids'],
    [{ sequence_bias: [[[1]]] }, 'sequence_bias'],
    [{ sequence_bias: [[[1], '1']] }, 'sequence_bias to be pairs with a bias'],
    [{ sequence_bias: [[[1], 1e7]] }, 'sequence_bias to be pairs with a bias of at most 1000000'],
    [{ sequence_bias: { 1: 2 } }, 'sequence_bias to be a list of pairs'],
    [{ forced_bos_token_id: 10 }, 'forced_bos_token_id'],
    [{ forced_eos_token_id: ['3'] }, 'forced_eos_token_id'],
  ])('are refused: %j', (values, problem) => {
    expectCheckpointError(() => read(values), 'CHECKPOINT_CONFIG_INVALID', [PATH, problem]);
  });
});
