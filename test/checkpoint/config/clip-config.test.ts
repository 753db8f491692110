import { describe, expect, test } from 'vitest';
import { readClipConfig } from '../../../checkpoint/config/clip-config.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

const poolingOf = (text_config: object) =>
  readClipConfig({ path: 'config.json', values: { text_config } }).text.pooling;

describe('the token that stands for a text', () => {
  test.each([
    [{}, { eosTokenId: 49_407 }],
    [{ eos_token_id: 2 }, 'largest-id'],
    [{ vocab_size: 664, eos_token_id: 663 }, { eosTokenId: 663 }],
    [{ vocab_size: 2, eos_token_id: 2 }, 'largest-id'], // A placeholder.
  ])('%j', (text, pooling) => {
    expect(poolingOf(text)).toEqual(pooling);
  });

  test.each([{ vocab_size: 664, eos_token_id: 664 }, { vocab_size: 664 }])('must be in the vocabulary: %j', (text) => {
    expectCheckpointError(() => poolingOf(text), 'CHECKPOINT_CONFIG_INVALID', [
      'config.json: text_config: expected eos_token_id to be below vocab_size 664, got',
    ]);
  });
});
