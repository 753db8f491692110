import { describe, expect, test } from 'vitest';
import { openTokenizer } from '../../../pipeline/texts/tokenizer.ts';
import { readOpenClipGoldens } from '../../support/open-clip.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { expectCheckpointError } from '../../support/thrown.ts';

describe('open_clip’s files without a tokenizer have CLIP’s, which ships', () => {
  test.each(readOpenClipGoldens().tokenized)('$text', ({ text, ids }) => {
    const tokenizer = openTokenizer(temporaryFolder({ 'open_clip_config.json': '{}' }));
    expect(tokenizer.encode(text)).toEqual(ids);
  });

  test('all its tokens have ids', () => {
    const tokenizer = openTokenizer(temporaryFolder({ 'open_clip_config.json': '{}' }));
    expect(tokenizer.idCount).toBe(49_408);
    expect(Array.from({ length: 49_408 }, (_, id) => id).filter((id) => !tokenizer.has(id))).toEqual([]);
  });
});

test('files of transformers must have a tokenizer', () => {
  const open = () => openTokenizer(temporaryFolder({ 'config.json': '{"architectures": ["CLIPModel"]}' }));
  expectCheckpointError(open, 'CHECKPOINT_TOKENIZER_INVALID', ['tokenizer.json']);
});
